"""Continue a language model's training on a world's own texts, and be asked along the way.

    words = world_words(load_model("codebook"))
    model = word_level_language_model(words)
    adapt(encoding_of(words, model), AdaptationRecipe(steps=1000), looks=(0, 500, 1000), look=ask)

The loss is the cross-entropy of the next token, of all tokens of a text and of the word that
follows it, in nats a token. Every step has texts of its own. The model stays in evaluation mode, so
that nothing is dropped at random; on a CPU the same seed gives the same weights bit for bit with
the same number of threads, also where the training was killed and goes on.
"""

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from concept_ppl.bridge import LanguageModel
from concept_ppl.bridge.anatomy.forward_pass import pad_right
from concept_ppl.errors import InputError

from .encoding import Encoding
from .progress_files import Progress, require_room, restore_progress, save_progress
from .recipe import AdaptationRecipe
from .trainable import make_trainable
from .world_texts import TextKind, training_texts

Look = Callable[[int, Sequence[float]], None]
Report = Callable[[int, int], None]

BETAS = (0.9, 0.98)
LARGEST_GRADIENT = 1.0
SAVE_SECONDS = 60.0
"""What a killed training loses at most, beside the step it was at."""
UNASKED = -100


def adapt(
    encoding: Encoding,
    recipe: AdaptationRecipe,
    *,
    seed: int = 0,
    kind: TextKind = "world",
    looks: Sequence[int] = (),
    look: Look | None = None,
    under_way: str | Path | None = None,
    progress: Report | None = None,
) -> tuple[float, ...]:
    """Train by next-token prediction on fresh texts; the language model is changed in place.

    Parameters
    ----------
    encoding
        The world and the language model.
    recipe
        Which weights learn, and how.
    seed
        Of the texts, and of LoRA's first weights.
    kind
        ``exchanged`` trains on the negative control; see `training_texts`.
    looks, look
        ``look(step, losses)`` is called when so many steps are done, 0 for before; a training that
        goes on calls it once more for the step at which it was saved, so that it may find its work
        done.
    under_way
        File from which a killed training goes on, and in which a finished one is found again.
    progress
        Called with (steps done, steps).

    Returns
    -------
    tuple of float
        Mean cross-entropy of each step, nats a token.

    Raises
    ------
    InputError
        If an argument is not usable, the file is of another training, the disk lacks the room, or
        training diverges.
    LanguageModelError
        If the model's weights take no gradients.
    """
    run = _Run(encoding, recipe, seed, kind, None if under_way is None else Path(under_way))
    asked = set(looks)
    saved = time.monotonic()
    while True:
        is_asked, is_done = run.step in asked, run.step >= recipe.steps
        if run.step > run.saved and (
            is_asked or is_done or time.monotonic() - saved > SAVE_SECONDS
        ):
            run.save()
            saved = time.monotonic()
        if is_asked and look is not None:
            look(run.step, tuple(run.losses))
        if progress is not None:
            progress(run.step, recipe.steps)
        if is_done:
            return tuple(run.losses)
        run.advance()


class _Run:
    """A training under way: what learns, what has been done, what the file holds."""

    def __init__(
        self,
        encoding: Encoding,
        recipe: AdaptationRecipe,
        seed: int,
        kind: TextKind,
        path: Path | None,
    ) -> None:
        self.encoding, self.recipe, self.seed, self.kind, self.path = (
            *(encoding, recipe, seed, kind),
            path,
        )
        self.model: LanguageModel = encoding.language_model
        self.weights = make_trainable(self.model, blocks=recipe.blocks, lora=recipe.lora, seed=seed)
        self.optimiser = torch.optim.AdamW(
            self.weights.values(),
            lr=recipe.learning_rate,
            betas=BETAS,
            weight_decay=recipe.weight_decay,
        )
        self.step, self.saved, self.losses = 0, 0, list[float]()
        self.identity = self._identity()
        if path is None:
            return
        require_room([path], self.weights)
        if path.exists():
            found = restore_progress(path, self.weights, self.optimiser, self.identity)
            self.step, self.saved, self.losses = found.step, found.step, list(found.losses)

    def advance(self) -> None:
        """Take one step."""
        texts = training_texts(
            self.encoding.words.model,
            self.step,
            self.recipe.batch,
            seed=self.seed,
            kind=self.kind,
        )
        loss = self._loss(self.encoding.rows(texts))
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.rate(self.step)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.weights.values(), LARGEST_GRADIENT)
        self.optimiser.step()
        self.step += 1
        self.losses.append(float(loss.detach()))
        if not math.isfinite(self.losses[-1]):
            raise InputError(
                f"the training of {self.model.name} has diverged, its loss is {self.losses[-1]} "
                f"after {self.step} steps; give it a smaller learning rate."
            )

    def _loss(self, rows: Sequence[Sequence[int]]) -> Tensor:
        ids, mask = pad_right(rows, self.model.device)
        logits = self.model.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        asked = ids.masked_fill(mask == 0, UNASKED)[:, 1:]
        return nn.functional.cross_entropy(
            logits[:, :-1].float().flatten(0, 1), asked.flatten(), ignore_index=UNASKED
        )

    def save(self) -> None:
        """Write how far the training is, where a file was named."""
        if self.path is None:
            return
        done = Progress(self.step, tuple(self.losses))
        save_progress(self.path, done, self.weights, self.optimiser, self.identity)
        self.saved = self.step

    def _identity(self) -> dict[str, Any]:
        """Return all that decides the numbers; the world is told by its first texts."""
        first = training_texts(
            self.encoding.words.model, 0, self.recipe.batch, seed=self.seed, kind=self.kind
        )
        rows = repr(self.encoding.rows(first)).encode()
        return {
            "language_model": self.model.digest,
            "texts": hashlib.sha256(rows).hexdigest(),
            "kind": self.kind,
            "seed": self.seed,
            "recipe": asdict(self.recipe),
        }

"""One training of the study: it goes on where it stopped, and each look leaves a file.

A file is named by the digest of all that decides its numbers and is written as a whole; what has a
file is not asked again.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from concept_ppl.analyses.studies.laboratory.cells import Cell
from concept_ppl.bridge import LanguageModel, States, extract, load_language_model
from concept_ppl.bridge.anatomy.sites import FINAL_NORM
from concept_ppl.errors import InputError
from concept_ppl.model_sources import load_model
from concept_ppl.outputs import new_file
from concept_ppl.predictors.adaptation import (
    Encoding,
    Texts,
    WorldWords,
    adapt,
    encoding_of,
    held_out_texts,
    make_trainable,
    require_room,
    word_level_language_model,
    world_words,
)
from concept_ppl.reports.manifest import plain

from .answers import (
    Answers,
    Beside,
    HeldOut,
    as_records,
    held_out,
    of_ceiling,
    of_model,
    of_own_posterior,
    of_predictions,
)
from .controls import beside_looks
from .plan import AdaptationStudy, Training, cells_of, standing_cells, under_way_name

TWIN = 10_000
"""What is added to the seed for the weights of the untrained twin."""


@dataclass(frozen=True, eq=False)
class Workshop:
    """What all trainings of a study share, each part made when it is first asked for.

    Attributes
    ----------
    study
        What is done.
    folder
        Where looks and trainings under way are written.
    """

    study: AdaptationStudy
    folder: Path

    @cached_property
    def words(self) -> WorldWords:
        """The words of the world."""
        return world_words(load_model(self.study.world, **self.study.parameters))

    @cached_property
    def texts(self) -> Texts:
        """The held-out texts."""
        return held_out_texts(self.words.model, self.study.n_contexts, seed=self.study.seed)

    @cached_property
    def texts_digest(self) -> str:
        """SHA-256 of the held-out texts."""
        digest = hashlib.sha256("\n".join(self.words.sentences(self.texts.contexts)).encode())
        if self.texts.following is not None:
            digest.update(self.texts.following.tobytes())
        return digest.hexdigest()

    @cached_property
    def held(self) -> HeldOut:
        """Their exact answers."""
        return held_out(self.words, self.texts, seed=self.study.seed, level=self.study.level)

    @cached_property
    def untrained(self) -> tuple[Encoding, States]:
        """The same architecture with other random weights, that never learns, and its states."""
        study = self.study
        if study.language_model is None:
            model = self._word_level(study.seed + TWIN)
        else:
            model = load_language_model(
                study.language_model, device=study.device, random_weights=study.seed + TWIN
            )
        return encoding_of(self.words, model), self._read(model)

    @cached_property
    def beside(self) -> Beside:
        """What every look is held against."""
        encoding, states = self.untrained
        before = self.language_model()
        held = self._held_by(encoding)
        return beside_looks(self.words, self.texts, held, before, states[FINAL_NORM])

    @cached_property
    def model_digest(self) -> str:
        """Digest of the language model before training."""
        return self.language_model().digest

    def check(self) -> None:
        """Refuse what could not be trained or told apart, and a disk without room for it.

        Raises
        ------
        InputError, LanguageModelError
            As `adapt` and `encoding_of` would later.
        """
        model = self.language_model()
        self.__dict__["model_digest"] = model.digest  # loading it once more takes seconds
        encoding_of(self.words, model)
        recipe = self.study.recipe
        weights = make_trainable(model, blocks=recipe.blocks, lora=recipe.lora)
        require_room([self.under_way(one) for one in self.study.trainings], weights)

    def under_way(self, training: Training) -> Path:
        """Return the file from which a training goes on."""
        return self.folder / under_way_name(self.cells(training))

    def language_model(self) -> LanguageModel:
        """Return the language model as it is before training."""
        study = self.study
        if study.language_model is not None:
            return load_language_model(study.language_model, device=study.device)
        return self._word_level(study.seed)

    def cells(self, training: Training) -> list[Cell]:
        """Return the looks at a training."""
        return cells_of(self.study, training, self.model_digest, self.texts_digest)

    @property
    def standing(self) -> list[Cell]:
        """The looks at what needs no training: the ceiling, the untrained twin."""
        return standing_cells(self.study, self.model_digest, self.texts_digest)

    def path(self, cell: Cell) -> Path:
        """Return the file of a look."""
        return self.folder / f"{cell.digest}.json"

    def answer_standing(self) -> None:
        """Ask the ceiling and the untrained twin."""
        ceiling, untrained = self.standing
        if self.path(ceiling).is_file() and self.path(untrained).is_file():
            return
        encoding, states = self.untrained
        self._write(ceiling, of_ceiling(self._held_by(encoding)))
        self._write(untrained, self._asked(encoding, states))

    def train(self, training: Training, progress: Callable[[int, int], None] | None) -> None:
        """Train, and ask everything at each look that has no file yet."""
        cells = self.cells(training)
        by_step = dict(zip(self.study.looks, cells, strict=True))
        if all(self.path(cell).is_file() for cell in cells):
            return
        encoding = encoding_of(self.words, self.language_model())

        def look(step: int, losses: Sequence[float]) -> None:
            if not self.path(by_step[step]).is_file():
                recent = float(np.mean(losses[-LOSSES:])) if losses else None
                answers = self._asked(encoding, self._read(encoding.language_model))
                self._write(by_step[step], answers, loss=recent)

        adapt(
            encoding,
            self.study.recipe,
            seed=training.seed,
            kind=training.kind,
            looks=self.study.looks,
            look=look,
            under_way=self.under_way(training),
            progress=progress,
        )
        missing = [step for step, cell in by_step.items() if not self.path(cell).is_file()]
        if missing:
            raise InputError(
                f"the look at step {missing[0]} of {training.name} was lost and the training is "
                f"past it; remove {self.under_way(training)} to train again."
            )

    def read(self, cells: Sequence[Cell]) -> pd.DataFrame:
        """Return every number of some looks, a row each, with ``kind``, ``seed`` and ``step``.

        Raises
        ------
        InputError
            If a file is none of this study's.
        """
        frames = []
        for cell in cells:
            path = self.path(cell)
            try:
                stored = json.loads(path.read_text(encoding="utf-8"))
                is_own = stored["settings"] == json.loads(json.dumps(plain(cell.settings)))
                rows = pd.DataFrame(stored["rows"])
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise InputError(f"{path} is no look of a study; remove it.") from error
            if not is_own:
                raise InputError(f"{path} holds other settings than its name says; remove it.")
            own = {name: cell.settings[name] for name in ("kind", "seed", "step")}
            frames.append(rows.assign(**own, loss=stored["loss"]))
        numbers = ["estimate", "std_error", "ci_low", "ci_high", "p_value", "loss"]
        whole = pd.concat([frame.astype(dict.fromkeys(numbers, "float64")) for frame in frames])
        return whole.reset_index(drop=True)

    def _word_level(self, seed: int) -> LanguageModel:
        size = self.study.word_level
        return word_level_language_model(
            self.words, width=size.width, blocks=size.blocks, seed=seed, device=self.study.device
        )

    def _read(self, model: LanguageModel) -> States:
        return extract(model, self.held.sentences, sites=(FINAL_NORM,))

    def _asked(self, encoding: Encoding, states: States) -> Answers:
        F = states[FINAL_NORM]
        log_p, mass = encoding.log_predictive(F)
        held = self._held_by(encoding)
        return {
            **of_predictions(log_p, mass, held),
            **of_model(F, self.beside, held),
            **of_own_posterior(log_p, F, held),
        }

    def _held_by(self, encoding: Encoding) -> HeldOut:
        """Return the held-out answers as far as the model's next token can tell them."""
        by_first = encoding.by_first_token
        emission = self.held.log_emission
        return replace(
            self.held,
            log_predictive=by_first(self.held.log_predictive),
            log_emission=None if emission is None else by_first(emission),
        )

    def _write(self, cell: Cell, answers: Answers, loss: float | None = None) -> None:
        stored: Mapping[str, object] = {
            "settings": plain(cell.settings),
            "rows": list(as_records(answers)),
            "loss": loss,
        }
        with new_file(self.path(cell), force=True) as temporary:
            text = json.dumps(stored, sort_keys=True, ensure_ascii=False, allow_nan=False)
            temporary.write_text(text + "\n", encoding="utf-8")


LOSSES = 50
"""Steps over which the loss of a look is averaged."""

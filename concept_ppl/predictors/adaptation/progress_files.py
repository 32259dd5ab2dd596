"""A training under way on the disk: weights, AdamW's moments and losses, in one safetensors file.

The file takes the place of the one before as a whole, so that a training that is killed at any
moment, or that finds the disk full, goes on from what was written last.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from concept_ppl.errors import InputError
from concept_ppl.outputs import new_file

PARTS = ("weight", "first_moment", "second_moment")


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    Attributes
    ----------
    step
        Steps done.
    losses : tuple of float
        Mean cross-entropy of each step, nats a token.
    """

    step: int
    losses: tuple[float, ...]


def require_room(paths: Sequence[Path], weights: Mapping[str, Tensor]) -> None:
    """Refuse a disk that cannot hold the files of some trainings, before any work.

    While a file is replaced, the old one and the new one are both there.

    Raises
    ------
    InputError
        If less is free than will be needed.
    """
    size = sum(len(PARTS) * w.numel() * w.element_size() for w in weights.values())
    needed = sum(size if path.exists() else 2 * size for path in paths)
    folder = next(parent for parent in paths[0].resolve().parents if parent.is_dir())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f"{paths[0].parent} needs {needed / 1e6:,.0f} MB for what killed trainings go on from, "
            f"and {free / 1e6:,.0f} MB are free; make room, or let fewer blocks or LoRA learn."
        )


def save_progress(
    path: Path,
    progress: Progress,
    weights: Mapping[str, Tensor],
    optimiser: torch.optim.AdamW,
    identity: Mapping[str, Any],
) -> None:
    """Write the file, whole or not at all.

    Raises
    ------
    InputError
        If it cannot be written; what was written before stays.
    """
    tensors = {}
    for name, weight in weights.items():
        state = optimiser.state[weight]
        parts = (weight.detach(), state["exp_avg"], state["exp_avg_sq"])
        for part, tensor in zip(PARTS, parts, strict=True):
            tensors[f"{part}.{name}"] = tensor.cpu().contiguous()
    said = {
        "identity": json.dumps(identity, sort_keys=True),
        "step": str(progress.step),
        "losses": json.dumps(progress.losses),
    }
    with new_file(path, force=True) as temporary:
        try:
            save_file(tensors, temporary, metadata=said)
        except SafetensorError as error:
            raise InputError(
                f"{path} cannot be written ({error}); the training goes on from what was written "
                "before once there is room."
            ) from error


def restore_progress(
    path: Path,
    weights: Mapping[str, Tensor],
    optimiser: torch.optim.AdamW,
    identity: Mapping[str, Any],
) -> Progress:
    """Put weights and moments back as they were, and return how far the training is.

    Raises
    ------
    InputError
        If the file is none of these, or of another training.
    """
    try:
        with safe_open(path, framework="pt") as file:
            said = file.metadata()
            is_own = json.loads(said["identity"]) == json.loads(json.dumps(identity))
            step, losses = int(said["step"]), tuple(json.loads(said["losses"]))
            if is_own:
                _put_back(file, weights, optimiser, step)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no training under way; name another file.") from error
    if not is_own:
        raise InputError(
            f"{path} is of another training (model, texts, seed or recipe differ); name another "
            "file or remove it."
        )
    return Progress(step, losses)


def _put_back(
    file: Any, weights: Mapping[str, Tensor], optimiser: torch.optim.AdamW, step: int
) -> None:
    for name, weight in weights.items():
        stored, first, second = (file.get_tensor(f"{part}.{name}") for part in PARTS)
        with torch.no_grad():
            weight.copy_(stored)
        optimiser.state[weight] = {
            "step": torch.tensor(float(step)),
            "exp_avg": first.to(weight.device),
            "exp_avg_sq": second.to(weight.device),
        }

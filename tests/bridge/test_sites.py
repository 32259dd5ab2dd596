"""Sites are named one way, and a wrong name is answered with the right ones."""

import pytest

from concept_ppl.bridge import LanguageModel, resolve_sites, spread_sites
from concept_ppl.bridge.anatomy.sites import sites_of
from concept_ppl.errors import InputError


def test_every_site_of_a_model(llama: LanguageModel) -> None:
    blocks = ("resid.1", "resid.2", "resid.3")
    expected = ("embedding", *blocks, "final_norm", "embedding.sum", "embedding.mean")
    assert llama.sites == resolve_sites(llama, "all") == sites_of(3) == expected


def test_sites_keep_the_users_order_and_come_once(llama: LanguageModel) -> None:
    asked = "final_norm, resid.2,embedding,resid.2"
    assert resolve_sites(llama, asked) == ("final_norm", "resid.2", "embedding")
    assert resolve_sites(llama, ["resid.3", "embedding.sum"]) == ("resid.3", "embedding.sum")


@pytest.mark.parametrize("asked", ["", " , ", []])
def test_no_site_is_an_error(llama: LanguageModel, asked) -> None:
    with pytest.raises(InputError, match="No site is named"):
        resolve_sites(llama, asked)


@pytest.mark.parametrize("asked", ["resid.0", "resid.4", "logits", "embedding,resid"])
def test_an_unknown_site_is_named_with_the_known_ones(llama: LanguageModel, asked: str) -> None:
    with pytest.raises(InputError, match=r"Unknown site .*resid\.1 to resid\.3"):
        resolve_sites(llama, asked)


@pytest.mark.parametrize(("n", "blocks"), [(1, (3,)), (2, (2, 3)), (3, (1, 2, 3)), (6, (1, 2, 3))])
def test_spread_sites_end_with_the_last_block(
    llama: LanguageModel, n: int, blocks: tuple[int, ...]
) -> None:
    expected = ("embedding", *(f"resid.{block}" for block in blocks), "final_norm")
    assert spread_sites(llama, n=n) == expected


def test_spread_sites_need_a_block(llama: LanguageModel) -> None:
    with pytest.raises(InputError, match="at least 1"):
        spread_sites(llama, n=0)

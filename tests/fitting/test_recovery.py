"""Tables of a zoo model come back from tokens simulated from it, inside their intervals."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from concept_ppl import load_model, simulate
from concept_ppl.analyses import parameter_estimates
from concept_ppl.contexts.tokens import as_contexts
from concept_ppl.fitting import fit

TOPICS, VOCABULARY, N = 3, 8, 1500


@pytest.fixture(scope="module")
def recovered():
    """Truth drawn from the prior, tokens, and tables of estimates by EM and NUTS."""
    rng = np.random.default_rng(4)
    emission = rng.dirichlet(np.full(VOCABULARY, 0.4), TOPICS)
    truth = {"share": rng.dirichlet(np.full(TOPICS, 5.0)), "emission": emission}
    model = load_model("topic_mixture", learn=True, topics=TOPICS, vocabulary=VOCABULARY)
    tokens = as_contexts(simulate(model, N, lengths=(3, 8), seed=1, values=truth))
    point = fit(model, tokens, "em", restarts=6, seed=2)
    draws = fit(model, tokens, "nuts", start=point.values, chains=2, warmup=150, draws=250, seed=3)
    tables = {
        "em": parameter_estimates(point.matched, point.standard_errors, n=N).tidy(),
        "nuts": parameter_estimates(draws.matched, n=N).tidy(),
    }
    return truth, tables


def in_order(table, truth):
    """Estimates beside the truth, topics matched by their words."""
    words = table.query("parameter == 'emission'")["estimate"].to_numpy()
    words = words.reshape(TOPICS, VOCABULARY)
    cost = np.abs(words[:, None] - truth["emission"][None]).sum(2)
    found, true = linear_sum_assignment(cost)
    place = np.empty(TOPICS, np.int64)
    place[found] = true
    own = {"share": truth["share"][place], "emission": truth["emission"][place]}
    shown = table.assign(truth=np.concatenate([own["share"], own["emission"].ravel()]))
    shown["error"] = shown["estimate"] - shown["truth"]
    return shown


@pytest.mark.slow
@pytest.mark.parametrize("method", ["em", "nuts"])
def test_every_table_is_recovered_inside_its_intervals(recovered, method):
    truth, tables = recovered
    shown = in_order(tables[method], truth)
    assert shown["error"].abs().max() < 0.04, shown.to_string()
    # A true probability near zero is on the edge of what a flat prior and N tokens can tell.
    inner = shown[shown["truth"] > 0.002].dropna(subset=["ci_low"])
    covered = (inner["ci_low"] <= inner["truth"]) & (inner["truth"] <= inner["ci_high"])
    assert len(inner) >= 20
    assert covered.mean() >= 0.8, inner[~covered]
    scores = inner["error"] / inner["std_error"]
    assert 0.5 < scores.std() < 1.6


@pytest.mark.slow
def test_both_methods_agree_on_how_sure_they_are(recovered):
    _, tables = recovered
    em, nuts = tables["em"], tables["nuts"]
    both = (em["estimate"] > 0.02) & em["std_error"].notna()
    ratio = np.sort(nuts["std_error"][both]) / np.sort(em["std_error"][both])
    assert 0.8 < ratio.mean() < 1.25

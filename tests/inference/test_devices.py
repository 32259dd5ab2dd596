"""What computes on a device computes there alone, and gives the CPU's numbers."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.ops.indexing import Vindex

from concept_ppl import fit, load_model, posterior, predictive, simulate
from concept_ppl.fitting.likelihoods.likelihood import make_likelihood
from concept_ppl.inference import most_probable, sample_posterior
from concept_ppl.inference.enumerated_contexts import enumerate_contexts
from concept_ppl.predictors import PredictorConfig, exact_examples, train
from concept_ppl.programs import compile_model

from ..support.pretended_device import pretended_device

WORLDS = ("latent_classes", "concept_dag", "hidden_dice", "topic_mixture")


def contexts_of(name, n=12):
    model = load_model(name)
    return model, list(simulate(model, n, seed=1)["x"])


@pytest.mark.parametrize("name", WORLDS)
def test_a_posterior_on_a_device_is_that_of_the_cpu(name):
    model, contexts = contexts_of(name)
    here = posterior(model, contexts, joint=True).to_frame()
    with pretended_device() as device:
        there = posterior(model, contexts, joint=True, device=device)
        assert there.log_evidence.device.type == device
        frame = there.to_frame()
    for column in here:
        one, other = (np.stack(list(table[column])) for table in (here, frame))
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_elimination_and_positions_on_a_device():
    model, contexts = contexts_of("hidden_dice")
    here = posterior(model, contexts, filtered=True, smoothed=True)
    with pretended_device() as device:
        there = posterior(model, contexts, filtered=True, smoothed=True, device=device)
        for name in ("filtered", "smoothed"):
            for concept, table in getattr(there, name).items():
                torch.testing.assert_close(table.cpu(), getattr(here, name)[concept])
    model, contexts = contexts_of("concept_tree")
    here = posterior(model, contexts, engine="elimination")
    with pretended_device() as device:
        there = posterior(model, contexts, engine="elimination", device=device)
        torch.testing.assert_close(there.log_evidence.cpu(), here.log_evidence)


def test_what_is_asked_of_a_graph_on_a_device():
    model = load_model("latent_classes")
    contexts = list(simulate(model, 12, lengths=5, seed=1)["x"])
    here, predicted = compile_model(model, 5), predictive(model, contexts, site="x")
    with pretended_device() as device:
        there = compile_model(model, 5, device=device)
        best = most_probable(there, contexts)
        for name, value in most_probable(here, contexts).values.items():
            assert torch.equal(best.values[name].cpu(), value)
        found = predictive(model, contexts, site="x", device=device)
        torch.testing.assert_close(found.cpu(), predicted)
        assert sample_posterior(here, contexts, 2).log_probability is None


def simplex(name, *shape):
    return pyro.sample(name, dist.Dirichlet(torch.ones(shape)).to_event(len(shape) - 1))


def mixture(n_tokens):
    share, emit = simplex("share", 2), simplex("emit", 2, 3)
    kind = pyro.sample("kind", dist.Categorical(share))
    with pyro.plate("position", n_tokens):
        pyro.sample("x", dist.Categorical(Vindex(emit)[kind]))
    pyro.sample("y", dist.Categorical(Vindex(emit)[kind]))


def hidden_markov(n_tokens):
    start, move, emit = simplex("start", 2), simplex("move", 2, 2), simplex("emit", 2, 3)
    z = None
    for t in pyro.markov(range(n_tokens)):
        z = pyro.sample(f"z_{t}", dist.Categorical(start if z is None else Vindex(move)[z]))
        pyro.sample(f"x_{t}", dist.Categorical(Vindex(emit)[z]))


START = {"share": torch.tensor([0.4, 0.6])}
TOKENS = [[0, 1, 2], [1, -1, 1, 0], [2], [0, 0, 1, 2], [0, 1, 2], [2, 2, 0]]


@pytest.mark.parametrize("model", [mixture, hidden_markov])
@pytest.mark.parametrize("known", [False, True])
def test_counts_and_evidence_on_a_device(model, known):
    concept = "kind" if model is mixture else "z_0"
    given = {concept: [0, -1, 1, -1, 0, -1]} if known else None
    here = make_likelihood(model, TOKENS, given=given)
    values = here.program.random_values(torch.Generator().manual_seed(0))
    total, _, counts = here.expected_counts(values)
    with pretended_device() as device:
        there = make_likelihood(model, TOKENS, given=given, device=device)
        found, _, own = there.expected_counts(values)
        assert found == pytest.approx(total, rel=1e-12)
        for one, other in zip(counts[0], own[0], strict=True):
            torch.testing.assert_close(one, other)
        np.testing.assert_allclose(there.each(values), here.each(values), rtol=1e-12)


@pytest.mark.parametrize("method", ["em", "map", "svi", "nuts"])
def test_a_fit_on_a_device_is_that_of_the_cpu(method):
    options = {"restarts": 1, "chains": 1, "warmup": 2, "draws": 2, "max_tree_depth": 2, "seed": 0}
    options |= {"start": START, "iterations": 5} if method != "nuts" else {}
    options |= {"standard_errors": method == "em"}
    model = (
        hidden_markov if method == "nuts" else mixture
    )  # a mixture's chain has other coordinates
    here = fit(model, TOKENS, method, **options)
    with pretended_device() as device:
        there = fit(model, TOKENS, method, device=device, **options)
    for name, draws in here.draws.items():
        np.testing.assert_allclose(draws, there.draws[name], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("architecture", ["mlp", "llama"])
def test_a_predictor_trained_on_a_device_is_that_of_the_cpu(architecture):
    examples = exact_examples(enumerate_contexts(load_model("one_hot_permutation"), 2))
    config = PredictorConfig(architecture, width=32, depth=1)
    here = train(config, examples, seed=0, max_steps=3)
    with pretended_device() as device:
        there = train(config, examples, seed=0, max_steps=3, device=device)
        assert there.kl == pytest.approx(here.kl, rel=1e-5)
        states = there.states(examples.contexts)
        np.testing.assert_allclose(states, here.states(examples.contexts), rtol=1e-4, atol=1e-5)


def test_tensors_of_two_devices_are_refused():
    with pretended_device() as device:
        there = torch.ones(3, device=device)
        with pytest.raises(RuntimeError, match="lie on"):
            there + torch.ones(3)
        with pytest.raises(TypeError, match="is no array"):
            np.asarray(there)
        assert (there + torch.tensor(1.0)).cpu().tolist() == [2, 2, 2]

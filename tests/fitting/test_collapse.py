import numpy as np
import pyro
import pytest
import torch
from pyro.infer import HMC, MCMC, NUTS, SVI, Trace_ELBO, TraceEnum_ELBO, TraceGraph_ELBO, autoguide
from pyro.poutine import block, condition, trace

from concept_ppl import collapsed, posterior
from concept_ppl.errors import InputError, ModelError
from concept_ppl.fitting.likelihoods.likelihood import make_likelihood

from .programs import N_VALUES, PROGRAMS, closing, computed, mixture, mixture_in_plates, moving

rng = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _own_store():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    with pyro.get_param_store().scope():
        pyro.set_rng_seed(0)
        yield
    torch.set_default_dtype(before)


def contexts_of(name, n=12, longest=4):
    """Contexts of differing lengths, some of their tokens unobserved."""
    size = N_VALUES.get(name, 3)
    rows = [rng.integers(0, size, rng.integers(0, longest + 1)).tolist() for _ in range(n)]
    rows[0] = [None, *rows[0][1:]]
    return [*rows, rows[3]]


def values_of(likelihood, seed=1):
    return likelihood.program.random_values(torch.Generator().manual_seed(seed))


def evidence_and_prior(program, values):
    store = pyro.get_param_store()
    store.clear()
    sites = {name: value for name, value in values.items() if name != "bias"}
    for name in ("bias", "share", "response"):
        if name in values:
            pyro.param(name, values[name])
    found = trace(condition(program, data=sites)).get_trace()
    found.compute_log_prob()
    factor = found.nodes["log_evidence"]
    prior = sum(
        node["log_prob_sum"]
        for name, node in found.nodes.items()
        if node["type"] == "sample" and name in values
    )
    return factor["log_prob"], prior  # scaled already


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_collapsed_program_scores_contexts_by_their_exact_evidence(name):
    model, rows = PROGRAMS[name], contexts_of(name)
    likelihood = make_likelihood(model, rows)
    values = values_of(likelihood)
    if name == "classes":  # params, whose values a program takes from Pyro's store
        constraint = torch.distributions.constraints.simplex
        for key, value in values.items():
            pyro.param(key, value, constraint=constraint)
        found = trace(collapsed(model, rows)).get_trace().nodes["log_evidence"]["fn"].log_factor
    else:
        found, _ = evidence_and_prior(collapsed(model, rows), values)
    expected = posterior(model, rows, values=values).log_evidence
    torch.testing.assert_close(found.detach(), expected, rtol=1e-12, atol=1e-12)


def test_no_discrete_site_is_left():
    for name, model in PROGRAMS.items():
        nodes = trace(collapsed(model, contexts_of(name))).get_trace().nodes
        sites = {n for n, node in nodes.items() if node["type"] in {"sample", "param"}}
        known = set(make_likelihood(model, contexts_of(name)).program.parameters)
        assert sites - {"contexts", "kinds"} == known | {"log_evidence"}  # two plates


def test_known_values_next_tokens_and_weights_enter_the_evidence():
    rows = [[0, 1], [2], [1, 1, 0]]
    weights, kinds, following = [1.0, 2.5, 0.0], [1, -1, 0], [1, 0, -1]
    likelihood = make_likelihood(
        computed, rows, weights=weights, given={"kind": kinds}, next_tokens={"y": following}
    )
    values = values_of(likelihood)
    tables, _ = likelihood.program.evaluate(values)
    found = likelihood.by_context(tables).detach().numpy()
    for n in range(3):
        total = 0.0
        for mood in (0, 1):
            for kind in (0, 1):
                if kinds[n] not in {-1, kind}:
                    continue
                p = torch.sigmoid(values["bias"][0] if mood else -values["bias"][0])
                slope = values["bias"][1] + mood
                p = p * torch.sigmoid(slope if kind else -slope)
                logits = values["weights"][0] * kind + values["weights"][1] * mood
                p = p * torch.softmax(logits, 0)[rows[n]].prod()
                if following[n] >= 0:
                    one = 0.2 + 0.6 * mood
                    p = p * (one if following[n] else 1 - one)
                total += float(p)
        assert np.isclose(found[n], np.log(total), rtol=1e-12)
    log_evidence, _ = likelihood.log_density(values)
    assert np.isclose(float(log_evidence), found @ weights, rtol=1e-12)


@pytest.mark.parametrize("name", PROGRAMS)
def test_gradients_agree_with_finite_differences(name):
    likelihood = make_likelihood(PROGRAMS[name], contexts_of(name))
    values = {k: v.requires_grad_() for k, v in values_of(likelihood).items()}
    log_evidence, log_prior = likelihood.log_density(values)
    gradients = torch.autograd.grad(log_evidence + log_prior, list(values.values()))
    generator = torch.Generator().manual_seed(0)
    for key, gradient in zip(values, gradients, strict=True):
        along = torch.randn(gradient.shape, generator=generator)
        along = along - along.mean(-1, keepdim=True) if along.dim() else along  # keeps a simplex
        ends = []
        for step in (1e-6, -1e-6):
            moved = {k: v.detach() for k, v in values.items()}
            moved[key] = moved[key] + step * along
            ends.append(sum(likelihood.log_density(moved)).item())
        slope = (ends[0] - ends[1]) / 2e-6
        assert np.isclose(float((gradient * along).sum()), slope, rtol=1e-5, atol=1e-6)


def test_the_loss_is_that_of_raw_enumeration():
    contexts = torch.from_numpy(rng.integers(0, 3, (30, 4)))

    class RawDelta(autoguide.AutoDelta):
        pass

    guide = autoguide.AutoDelta(collapsed(mixture, contexts))
    raw = RawDelta(block(mixture_in_plates, expose=["share", "emission", "kinds"]))
    ours = Trace_ELBO().loss(collapsed(mixture, contexts), guide)
    raw(contexts)
    for name in ("share", "emission"):
        getattr(raw, f"{name}_unconstrained").data.copy_(
            getattr(guide, f"{name}_unconstrained").data
        )
    theirs = TraceEnum_ELBO(max_plate_nesting=2).loss(mixture_in_plates, raw, contexts)
    assert np.isclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize(
    "kind",
    [
        "AutoDelta",
        "AutoNormal",
        "AutoDiagonalNormal",
        "AutoMultivariateNormal",
        "AutoLowRankMultivariateNormal",
        "AutoLaplaceApproximation",
        "AutoStructured",
    ],
)
@pytest.mark.parametrize("name", ["mixture", "moving", "computed"])
def test_every_guide_of_pyro_learns_it(kind, name):
    program = collapsed(PROGRAMS[name], contexts_of(name))
    guide = getattr(autoguide, kind)(program)
    svi = SVI(program, guide, pyro.optim.Adam({"lr": 0.02}), TraceGraph_ELBO())
    losses = [svi.step() for _ in range(3)]
    assert np.isfinite(losses).all()


@pytest.mark.parametrize("kernel", [NUTS, HMC])
def test_the_samplers_of_pyro_run_on_it(kernel):
    program = collapsed(mixture, contexts_of("mixture"))
    sampler = MCMC(kernel(program), num_samples=3, warmup_steps=2, disable_progbar=True)
    sampler.run()
    samples = sampler.get_samples()
    assert samples["emission"].shape == (3, 2, 3)
    torch.testing.assert_close(samples["share"].sum(-1), torch.ones(3))


def test_several_copies_of_the_parameters_are_scored_each_by_itself():
    rows = contexts_of("mixture")
    program = collapsed(mixture, rows)
    with pyro.plate("particles", 4, dim=-2):
        found = trace(program).get_trace()
    each = found.nodes["log_evidence"]["fn"].log_factor
    assert each.shape == (4, len(rows))
    for k in range(4):
        values = {
            "share": found.nodes["share"]["value"][k].reshape(2),
            "emission": found.nodes["emission"]["value"][k].reshape(2, 3),
        }
        expected = posterior(mixture, rows, values=values).log_evidence
        torch.testing.assert_close(each[k], expected, rtol=1e-12, atol=1e-12)


def test_particles_at_once_are_refused_where_the_program_itself_runs():
    program = collapsed(computed, contexts_of("computed"))
    guide = autoguide.AutoNormal(block(program, hide=["bias"]))
    many = Trace_ELBO(num_particles=2, vectorize_particles=True, max_plate_nesting=1)
    with pytest.raises((ModelError, ValueError)):
        many.loss(program, guide)


def test_minibatches_are_unbiased():
    rows = [[0], [1, 2], [2], [0, 0], [1]]
    weights = [1.0, 3.0, 0.5, 2.0, 1.0]
    values = values_of(make_likelihood(moving, rows))
    whole, _ = evidence_and_prior(collapsed(moving, rows, weights=weights), values)
    part = collapsed(moving, rows, weights=weights, batch_size=2)
    totals = [float(evidence_and_prior(part, values)[0].sum()) for _ in range(300)]
    spread = np.std(totals) / np.sqrt(len(totals))
    assert spread > 0
    assert abs(np.mean(totals) - float(whole.sum())) < 4 * spread


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(InputError, match="batch_size must lie between 1 and the 2 contexts"):
        collapsed(mixture, [[0, 1], [1]], batch_size=3)


def test_pyros_global_store_is_left_alone():
    pyro.param("bias", torch.ones(2))
    make_likelihood(computed, [[0, 1], [2]])
    assert set(pyro.get_param_store().keys()) == {"bias"}


def test_a_program_that_differs_at_each_length_is_run_at_each_with_the_same_parameters():
    rows = [[0, 2], [1, 0, 2], [1, 1, 0, 2], [0, 2], [2]]
    program = collapsed(closing, rows, weights=[1.0, 2.0, 1.0, 1.0, 1.0])
    found = trace(program).get_trace()
    values = {name: found.nodes[name]["value"] for name in ("share", "emission")}
    expected = posterior(closing, rows, values=values).log_evidence
    each = found.nodes["log_evidence"]["fn"].log_factor
    weights = torch.tensor([1.0, 2.0, 1.0, 1.0, 1.0])
    torch.testing.assert_close(each, expected * weights, rtol=1e-12, atol=1e-12)
    guide = autoguide.AutoNormal(program)
    assert np.isfinite(SVI(program, guide, pyro.optim.Adam({"lr": 0.02}), Trace_ELBO()).step())

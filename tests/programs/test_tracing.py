"""What a program is turned into; what is refused, with the site and the remedy named."""

import pyro
import pyro.distributions as dist
import pyro.poutine
import pytest
import torch
from pyro.ops.indexing import Vindex

from concept_ppl.errors import ModelError
from concept_ppl.programs.tracing import compile_model

HALF = torch.tensor([0.5, 0.5], dtype=torch.float64)
ROWS = torch.tensor([[0.9, 0.1], [0.2, 0.8]], dtype=torch.float64)


def tokens(n_tokens, rows=HALF):
    with pyro.plate("position", n_tokens):
        pyro.sample("x", dist.Categorical(rows))


def test_names_sizes_and_labels_are_kept():
    def model(n_tokens):
        a = pyro.sample("a", dist.Bernoulli(0.5)).long()
        pyro.sample("b", dist.Categorical(torch.ones(3) / 3))
        tokens(n_tokens, Vindex(ROWS)[a])
        pyro.sample("y", dist.Categorical(Vindex(ROWS)[a]))
        pyro.sample("y_other", dist.Bernoulli(0.2))

    model.labels = {"a": ("no", "yes"), "x": ("left", "right")}
    graph = compile_model(model, 3)
    assert graph.sizes == {"a": 2, "b": 3}
    assert graph.n_joint == 6
    assert graph.concepts["a"].labels == ("no", "yes")
    assert graph.concepts["b"].labels == ("0", "1", "2")
    assert graph.token_labels == ("left", "right")
    assert (graph.n_tokens, graph.vocabulary_size) == (3, 2)
    assert {name: factor.scope for name, factor in graph.next_tokens.items()} == {
        "y": ("a",),
        "y_other": (),
    }
    assert [factor.scope for factor in graph.priors] == [("a",), ("b",)]


def test_compiling_leaves_no_trace_in_global_state():
    def model(n_tokens):
        pyro.param("weight", torch.tensor(0.5))
        pyro.sample("a", dist.Bernoulli(0.5))
        tokens(n_tokens)

    pyro.clear_param_store()
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    compile_model(model, 2)
    assert not list(pyro.get_param_store().keys())
    assert torch.get_default_dtype() == torch.float32
    torch.testing.assert_close(torch.rand(3), expected)


def test_deterministic_sites_and_own_observations_are_understood():
    def model(n_tokens):
        a = pyro.sample("a", dist.Bernoulli(0.5)).long()
        pyro.deterministic("twice", 2 * a)
        pyro.sample("seen", dist.Bernoulli(Vindex(ROWS)[a][..., 1]), obs=torch.tensor(1.0))
        pyro.factor("weight", Vindex(torch.tensor([0.0, -1.0]))[a])
        tokens(n_tokens)

    graph = compile_model(model, 1)
    assert list(graph.concepts) == ["a"]
    assert [factor.site for factor in graph.priors] == ["a", "seen", "weight"]


def refused(model, match, n_tokens=3, **values):
    with pytest.raises(ModelError, match=match):
        compile_model(model, n_tokens, values=values)


def test_control_flow_on_a_concept_is_refused():
    def model(n_tokens):
        a = pyro.sample("a", dist.Bernoulli(0.5))
        tokens(n_tokens, HALF if a else ROWS[0])

    refused(model, r"control flow at line \d+ \(.*if a else.*Vindex or torch\.where")

    def by_item(n_tokens):
        a = pyro.sample("a", dist.Categorical(HALF))
        tokens(n_tokens, [HALF, ROWS[0]][a.item()])

    refused(by_item, "control flow at line .* depends on the value of a concept")

    def by_range(n_tokens):
        a = pyro.sample("a", dist.Categorical(HALF))
        for _ in range(int(a)):
            pass
        tokens(n_tokens)

    refused(by_range, "control flow at line")


@pytest.mark.parametrize("distribution", [dist.Poisson(2.0), dist.Geometric(0.5)])
def test_a_support_without_end_is_refused(distribution):
    def model(n_tokens):
        pyro.sample("count", distribution)
        tokens(n_tokens)

    refused(model, r"discrete site 'count' .*support is not finite; use a Categorical")


def test_a_continuous_latent_needs_a_value_and_a_value_needs_a_site():
    def model(n_tokens):
        p = pyro.sample("p", dist.Beta(1.0, 1.0))
        pyro.sample("a", dist.Bernoulli(p))
        tokens(n_tokens)

    refused(model, r"continuous site 'p' \(Beta\) has no value; give one: values=\{'p': …\}")
    table = compile_model(model, 1, values={"p": 0.25}).priors[0].table
    torch.testing.assert_close(table.exp(), torch.tensor([0.75, 0.25], dtype=torch.float64))
    refused(model, "no parameter named 'q'; leave out its value", p=0.25, q=1.0)
    refused(model, "no parameter named 'a'; leave out its value", p=0.25, a=1.0)


def test_rows_that_do_not_sum_to_one_are_refused_with_their_sum():
    def model(n_tokens):
        a = pyro.sample("a", dist.Bernoulli(0.5)).long()
        tokens(n_tokens, Vindex(torch.tensor([[0.5, 0.5], [0.5, 0.7]]))[a])

    refused(model, r"site 'x': a row of its probs sums to 1\.2, not to 1; divide each row")


def test_a_plate_is_needed_and_only_one():
    def no_plate(n_tokens):
        pyro.sample("a", dist.Bernoulli(0.5))
        pyro.sample("x", dist.Categorical(HALF))

    refused(no_plate, r"site 'x' must lie in pyro\.plate\(\"position\", n_tokens\)")

    def other_plate(n_tokens):
        with pyro.plate("words", n_tokens):
            pyro.sample("x", dist.Categorical(HALF))

    refused(other_plate, r"site 'x' must lie in pyro\.plate\(\"position\", n_tokens\)")

    def nested(n_tokens):
        with pyro.plate("group", 2), pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Categorical(HALF))

    refused(nested, r"site 'x' lies in several plates \(.*\); use one")

    def wrong_size(n_tokens):
        tokens(n_tokens + 1)

    refused(wrong_size, r"site 'x' must lie in pyro\.plate\(\"position\", n_tokens\)")


def test_tokens_must_be_there_and_unobserved():
    def without(n_tokens):
        pyro.sample("a", dist.Bernoulli(0.5))

    refused(without, "has no context of 3 tokens: name the token site x")

    def observed(n_tokens):
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Categorical(HALF), obs=torch.zeros(n_tokens))

    refused(observed, "site 'x' is observed in the program; leave out its obs=")

    def one_missing(n_tokens):
        for t in range(n_tokens - 1):
            pyro.sample(f"x_{t}", dist.Categorical(HALF))

    refused(one_missing, "has no context of 3 tokens")

    def uneven(n_tokens):
        for t in range(n_tokens):
            pyro.sample(f"x_{t}", dist.Categorical(torch.ones(t + 2) / (t + 2)))

    refused(uneven, "token sites have different numbers of values")

    def chained(n_tokens):
        x = None
        for t in pyro.markov(range(n_tokens)):
            rows = HALF if x is None else Vindex(ROWS)[x]
            x = pyro.sample(f"x_{t}", dist.Categorical(rows))

    refused(chained, "site 'x_1' depends on the token site 'x_0'; tokens may depend on concepts")


def test_a_value_at_each_position_stays_at_its_position():
    def model(n_tokens):
        with pyro.plate("position", n_tokens):
            w = pyro.sample("w", dist.Bernoulli(0.5)).long()
            pyro.sample("x", dist.Categorical(Vindex(ROWS)[w]))
        pyro.sample("y", dist.Categorical(Vindex(ROWS)[w[..., :1]]))

    refused(model, "'y' lies outside plate 'position' but depends on 'w'")


def test_masks_and_scales_are_refused():
    def masked(n_tokens):
        pyro.sample("a", dist.Bernoulli(0.5).mask(False))
        tokens(n_tokens)

    def handled(n_tokens):
        with pyro.poutine.mask(mask=False):
            pyro.sample("a", dist.Bernoulli(0.5))
        tokens(n_tokens)

    def scaled(n_tokens):
        with pyro.poutine.scale(scale=2.0):
            pyro.sample("a", dist.Bernoulli(0.5))
        tokens(n_tokens)

    for model in (masked, handled, scaled):
        refused(model, "site 'a' is scaled or masked; an exact posterior needs it plain")


def test_too_many_tensor_dimensions_are_refused_by_site():
    def model(n_tokens):
        for i in range(70):
            pyro.sample(f"c{i}", dist.Bernoulli(0.5))
        tokens(n_tokens)

    refused(model, r"site 'c\d+' would need more than 62 tensor dimensions; loop with pyro.markov")


def test_a_plate_whose_joint_is_too_large_is_refused():
    def model(n_tokens):
        with pyro.plate("member", 30):
            pyro.sample("z", dist.Bernoulli(0.5))
        tokens(n_tokens)

    refused(model, r"site 'z' lies in plate 'member' of size 30, whose joint 2\^30 is too large")


def test_labels_must_be_as_many_as_values():
    def model(n_tokens):
        pyro.sample("a", dist.Bernoulli(0.5))
        tokens(n_tokens)

    model.labels = {"a": ("one", "two", "three")}
    refused(model, "site 'a' has 2 values but 3 labels")


def test_an_error_of_the_program_is_told_with_its_line():
    def model(n_tokens):
        pyro.sample("a", dist.Bernoulli(0.5))
        raise KeyError("no such word")

    refused(model, r"model model fails when it is run once at line \d+ \(raise KeyError.*no such")


def test_a_program_that_exits_is_refused_and_the_process_goes_on():
    def model(n_tokens):
        raise SystemExit(3)

    refused(model, r"model model fails when it is run once at line \d+ \(raise SystemExit.*: 3")

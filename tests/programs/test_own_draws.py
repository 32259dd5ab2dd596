"""A program that draws random numbers of its own has no one posterior, and is refused by line."""

import random

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.ops.indexing import Vindex

from concept_ppl.errors import ModelError
from concept_ppl.programs.own_draws import generator_states, have_drawn
from concept_ppl.programs.sources import load_program
from concept_ppl.programs.tracing import compile_model

ROWS = torch.tensor([[0.9, 0.1], [0.2, 0.8]], dtype=torch.float64).log()
OWN = torch.Generator().manual_seed(0)
LEFT = torch.tensor([1.0, 0.0], dtype=torch.float64)


def by_torch():
    return torch.rand(())


def by_numpy():
    return float(np.random.normal())  # noqa: NPY002


def by_python():
    return random.random()


def by_a_layer():
    return torch.nn.Linear(1, 1).weight.detach().squeeze()


def by_a_parameter():
    return pyro.param("w", torch.randn(()))


def by_a_parameter_when_it_is_needed():
    return pyro.param("w", lambda: torch.randn(()))


def shifted(draw):
    def model(n_tokens):
        mood = pyro.sample("mood", dist.Bernoulli(0.3)).long()
        shift = draw()
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Categorical(logits=Vindex(ROWS)[mood] + shift * LEFT))

    return model


@pytest.mark.parametrize(
    "draw",
    [
        by_torch,
        by_numpy,
        by_python,
        by_a_layer,
        by_a_parameter,
        by_a_parameter_when_it_is_needed,
    ],
)
def test_the_line_that_draws_is_named_and_the_generators_are_left_alone(draw):
    before = generator_states()
    line = draw.__code__.co_firstlineno + 1
    with pytest.raises(ModelError, match=rf"draws random numbers of its own at line {line} \(ret"):
        compile_model(shifted(draw), 2)
    assert generator_states() == before


def test_a_draw_at_the_line_that_calls_is_not_blamed_on_what_it_called():
    def model(n_tokens):
        shifted(lambda: 0.0)(n_tokens), torch.rand(())

    line = model.__code__.co_firstlineno + 1
    with pytest.raises(ModelError, match=rf"of its own at line {line} \(shifted"):
        compile_model(model, 2)


def test_an_initial_value_that_is_drawn_and_not_used_is_no_harm():
    for draw in (by_a_parameter, by_a_parameter_when_it_is_needed):
        graph = compile_model(shifted(draw), 2, values={"w": 0.0})
        expected = compile_model(shifted(lambda: 0.0), 2)
        assert torch.equal(graph.emissions[0].tokens.table, expected.emissions[0].tokens.table)

    def sneaking(n_tokens):
        shift = torch.rand(())
        pyro.param("w", torch.zeros(()))
        shifted(lambda: shift)(n_tokens)

    line = sneaking.__code__.co_firstlineno + 1
    with pytest.raises(ModelError, match=f"of its own at line {line} "):
        compile_model(sneaking, 2, values={"w": 0.0})


@pytest.mark.parametrize(
    "generator",
    [np.random.default_rng(0).random, lambda: torch.rand((), generator=OWN)],
)
def test_a_program_that_changes_from_run_to_run_is_not_called_badly_indexed(generator):
    with pytest.raises(ModelError, match="site 'x' gets another table each time that the program"):
        compile_model(shifted(lambda: float(generator())), 2)


def test_a_generator_that_is_seeded_in_the_program_is_part_of_it():
    def drawn():
        return torch.rand((), generator=torch.Generator().manual_seed(3))

    compile_model(shifted(drawn), 2)


def test_what_a_file_draws_as_it_is_loaded_is_the_same_each_time(tmp_path):
    file = tmp_path / "drawn.py"
    file.write_text(
        "import random\n"
        "import numpy as np, torch, pyro, pyro.distributions as dist\n"
        "SCALE = random.random() + np.random.random()\n"
        "def build():\n"
        "    table = SCALE * torch.randn(5)\n"
        "    def model(n_tokens):\n"
        "        pyro.sample('a', dist.Bernoulli(0.5))\n"
        "        with pyro.plate('position', n_tokens):\n"
        "            pyro.sample('x', dist.Categorical(logits=table))\n"
        "    return model\n"
    )
    before = generator_states()
    once, again = (compile_model(load_program(file), 2) for _ in range(2))
    assert generator_states() == before
    torch.rand(3)
    later = compile_model(load_program(file), 2)
    for other in (again, later):
        assert torch.equal(once.emissions[0].tokens.table, other.emissions[0].tokens.table)


def test_a_device_that_comes_into_use_has_drawn_nothing_yet():
    before = generator_states()
    assert not have_drawn(before, {**before, "cuda": (b"first",)})
    assert have_drawn({**before, "cuda": (b"first",)}, {**before, "cuda": (b"second",)})
    torch.rand(1)
    assert have_drawn(before, generator_states())


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_draw_on_a_cuda_device_is_seen_and_a_tensor_there_is_none():
    line = on_cuda.__code__.co_firstlineno + 1
    with pytest.raises(ModelError, match=rf"draws random numbers of its own at line {line} \(ret"):
        compile_model(shifted(on_cuda), 2)
    compile_model(shifted(lambda: torch.zeros((), device="cuda").cpu()), 2)


def on_cuda():
    return torch.rand((), device="cuda").cpu()

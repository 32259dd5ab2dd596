"""Models come from the zoo, from files and from their builders; a mistake is told in a sentence."""

import sys

import pytest
import torch

from concept_ppl import load_model
from concept_ppl.errors import ModelError
from concept_ppl.inference.posteriors import posterior
from concept_ppl.programs.sources import parse_parameter
from concept_ppl.programs.tracing import compile_model
from concept_ppl.zoo import zoo

PLAIN = """
import pyro
import pyro.distributions as dist
import torch

PRIOR = torch.tensor([0.1, 0.9])

def model(n_tokens):
    pyro.sample("a", dist.Categorical(PRIOR))
    p = pyro.param("p", torch.tensor(0.5))
    with pyro.plate("position", n_tokens):
        pyro.sample("x", dist.Bernoulli(p))

def other(n_tokens):
    pyro.sample("b", dist.Bernoulli(0.5))
    with pyro.plate("position", n_tokens):
        pyro.sample("x", dist.Bernoulli(0.5))
"""

BUILDER = """
import pyro
import pyro.distributions as dist

def build(n_values=2, sizes=()):
    def model(n_tokens):
        pyro.sample("a", dist.Binomial(n_values - 1, 0.5))
        p = pyro.sample("p", dist.Beta(1.0, 1.0))
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Bernoulli(p))
    model.labels = {"x": ("no", "yes")}
    return model
"""


@pytest.fixture
def write(tmp_path):
    def write(text, name="mine.py"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_the_zoo_names_its_models_with_a_line_each():
    models = zoo()
    assert {"word_languages", "switching_languages"} <= set(models)
    assert all(line.endswith(".") for line in models.values())
    model = load_model("word_languages", languages=("en", "fr"), top=20)
    assert model.__name__ == "word_languages"
    graph = compile_model(model, 2)
    assert graph.concepts["language"].labels == ("en", "fr")
    assert len(graph.token_labels) == graph.vocabulary_size


@pytest.mark.parametrize("name", sorted(zoo()))
def test_every_model_of_the_zoo_compiles_and_answers(name):
    two = {"languages": ("en", "fr"), "top": 20}
    small = two if name in {"word_languages", "switching_languages"} else {}
    graph = compile_model(load_model(name, **small), 3)
    result = posterior(graph, [[-1] * 3])
    assert float(result.log_evidence[0]) == pytest.approx(0, abs=1e-12)


def test_a_file_defines_a_model_or_names_another(write):
    path = write(PLAIN)
    assert list(compile_model(load_model(path), 1).concepts) == ["a"]
    assert list(compile_model(load_model(f"{path}:other"), 1).concepts) == ["b"]
    assert load_model(path).__name__ == "mine"


def test_literals_of_a_file_are_in_double_precision(write):
    prior = compile_model(load_model(write(PLAIN)), 1).priors[0].table
    assert prior[0].item() == pytest.approx(torch.tensor(0.1).double().log().item(), abs=1e-6)
    exact = torch.tensor([0.1, 0.9], dtype=torch.float64).log()
    torch.testing.assert_close(prior, exact, rtol=0, atol=1e-15)
    assert torch.get_default_dtype() == torch.float32


def test_parameters_go_to_the_builder_and_the_rest_to_the_sites(write):
    model = load_model(write(BUILDER), n_values=4, p=0.25)
    graph = compile_model(model, 1)
    assert graph.sizes == {"a": 4}
    assert graph.emissions[0].tokens.table.exp().flatten().tolist() == pytest.approx([0.75, 0.25])
    assert model.values == {"p": 0.25}
    override = compile_model(model, 1, values={"p": 0.5})
    assert override.emissions[0].tokens.table.exp().flatten().tolist() == [0.5, 0.5]
    plain = load_model(write(PLAIN), p=0.25)
    assert compile_model(plain, 1).emissions[0].tokens.table[..., 1].exp().item() == 0.25


def test_a_parameter_that_nothing_takes_is_refused(write):
    with pytest.raises(ModelError, match=r"mine has no parameter 'colour'; it takes: n_values"):
        load_model(write(BUILDER), colour="red")
    with pytest.raises(ModelError, match="no parameter named 'n_vlaues'"):
        compile_model(load_model(write(BUILDER), n_vlaues=3, p=0.5), 1)


def test_what_is_wrong_with_a_file_is_told_with_its_line(write, tmp_path):
    for text, match in (
        ("import torch\ndef model(:\n", r"model file .*mine\.py fails at line 2"),
        ("x = 1\n\nraise OSError('no data')\n", r"fails at line 3: no data"),
        ("import no_such_library_anywhere\n", r"at line 1: No module named"),
        ("x = 1\n", r"defines no function model\(n_tokens\) or build"),
        ("model = 3\n", r"defines no function model\(n_tokens\) or build"),
        ("def build():\n    return 3\n", "returns no function of the number of tokens"),
        ("def build(n=1):\n    return [][n]\n", "build of .* fails at line 2"),
    ):
        with pytest.raises(ModelError, match=match):
            load_model(write(text))
    with pytest.raises(ModelError, match=r"model file .*none\.py does not exist"):
        load_model(tmp_path / "none.py")
    with pytest.raises(ModelError, match="defines no function third"):
        load_model(f"{write(PLAIN)}:third")
    with pytest.raises(ModelError, match=r"there is no model 'no_zoo'; name a \.py file or"):
        load_model("no_zoo")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("import sys\n\nsys.exit(0)\n", "model file .* fails at line 3"),
        ("raise SystemExit\n", "model file .* fails at line 1"),
        ("def build():\n    raise SystemExit('bye')\n", "build of .* fails at line 2"),
    ],
)
def test_a_file_that_exits_does_not_take_us_with_it(text, where, write, monkeypatch):
    path = write(text)
    with pytest.raises(ModelError, match=rf"{where}: it calls sys\.exit\("):
        load_model(path)
    monkeypatch.chdir(path.parent)
    with pytest.raises(ModelError, match=where):
        load_model(path.name)


DEFAULTS = """
def build(words=("a", "b"), spans=(1, 8), top: int = 9, rate=1, name="z", free=(), flag=True):
    return lambda n_tokens: None
"""


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("words=en", "'words' of mine takes a list, as words=a,b, not 'en'"),
        ("spans=3", "'spans' of mine takes a list, as spans=1,8, not 3"),
        ("spans=x,y", r"'spans' of mine takes numbers, as spans=1,8, not \('x', 'y'\)"),
        ("free=en", "'free' of mine takes a list, as free=en,, not 'en'"),
        ("top=abc", "'top' of mine takes a number, as top=9, not 'abc'"),
        ("top=2.5", r"'top' of mine takes a whole number, as top=9, not 2\.5"),
        ("rate=fast", "'rate' of mine takes a number, as rate=1, not 'fast'"),
    ],
)
def test_a_value_unlike_the_default_is_refused_before_the_build(parameter, message, write):
    with pytest.raises(ModelError, match=message):
        load_model(write(DEFAULTS), **dict([parse_parameter(parameter)]))


@pytest.mark.parametrize(
    "parameter",
    ["words=en,", "words=c,d,e", "spans=3,", "free=1,x", "top=3", "rate=0.5", "name=3", "flag=no"],
)
def test_a_value_like_the_default_is_left_to_the_build(parameter, write):
    assert callable(load_model(write(DEFAULTS), **dict([parse_parameter(parameter)])))


def test_a_file_may_import_its_neighbour_and_leaves_the_path_alone(write):
    write("SIZE = 3\n", "neighbour_of_mine.py")
    before = list(sys.path)
    path = write("from neighbour_of_mine import SIZE\n" + BUILDER.replace("=2", "=SIZE"))
    assert compile_model(load_model(path, p=0.5), 1).sizes == {"a": 3}
    assert sys.path == before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("top=20", ("top", 20)),
        ("floor=1e-8", ("floor", 1e-8)),
        ("languages=en,fr", ("languages", ("en", "fr"))),
        ("name=en", ("name", "en")),
        ("languages=en,", ("languages", ("en",))),
        ("cardinalities=3,", ("cardinalities", (3,))),
        ("lengths=(1, 4)", ("lengths", (1, 4))),
        ("path=a=b", ("path", "a=b")),
    ],
)
def test_parameters_of_a_command_line(text, expected):
    assert parse_parameter(text) == expected


@pytest.mark.parametrize("text", ["top", "=3", "a b=3", ""])
def test_what_is_no_parameter_is_refused(text):
    with pytest.raises(ModelError, match="is not of the form key=value"):
        parse_parameter(text)

"""The rooms hold: no import runs in a circle, arrows run one way, no room is overcrowded."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "concept_ppl": "concept_ppl",
    "models": "concept_ppl.models",
    "analyses": "concept_ppl.analyses",
}
MOST_MODULES = 16
ORDER = (
    ("errors", "logspace", "formatting", "result_columns", "arviz_import", "outputs", "models"),
    ("zoo", "shipped_data", "contexts", "reports", "distributed"),
    ("programs",),
    ("inference",),
    ("fitting", "bridge"),
    ("predictors", "model_sources"),
    ("extractors",),
    ("analyses",),
    ("analyses.studies",),
    ("cli", "__main__"),
)
"""Rooms of the package, the lowest first: each may import from its own row and those before it."""
ANALYSES = (
    ("results",),
    ("designs",),
    ("covariance", "pairs", "fits"),
    ("agreement",),
    ("claim", "regression"),
    ("worlds", "features"),
)
"""The same inside analyses, studies apart."""


def modules() -> dict[str, Path]:
    found = {}
    for folder, package in PACKAGES.items():
        for path in (ROOT / folder).rglob("*.py"):
            parts = [package, *path.relative_to(ROOT / folder).with_suffix("").parts]
            found[".".join(part for part in parts if part != "__init__")] = path
    return found


MODULES = modules()


def imports(name: str) -> set[str]:
    """Modules that a module imports anywhere: in functions and for types as well."""
    path = MODULES[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            found |= {f"{base}.{alias.name}" for alias in node.names} | {base}
    return {module for module in found & MODULES.keys() if module != name}


GRAPH = {name: imports(name) for name in MODULES}


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Names on one circle of the graph; none if there is none."""
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> list[str]:
        if name in path:
            return path[path.index(name) :]
        if name in done:
            return []
        for other in sorted(graph[name]):
            if found := walk(other, [*path, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := walk(name, []))), [])


def is_door(name: str) -> bool:
    return MODULES[name].name == "__init__.py"


def test_the_walker_finds_a_circle_where_there_is_one() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
    assert "concept_ppl.analyses.designs.design" in GRAPH["concept_ppl.analyses.designs.held_out"]


def test_no_import_runs_in_a_circle() -> None:
    # A door imports its own room and the top of the package imports all on demand: neither counts.
    graph = {
        name: {other for other in found if not (is_door(other) and name.startswith(other))}
        for name, found in GRAPH.items()
    }
    graph["concept_ppl"] = set()
    assert circle(graph) == []


def rank(module: str, order: tuple[tuple[str, ...], ...], base: str) -> int | None:
    """The row of the longest room of ``order`` that the module lies in."""
    inner = module.removeprefix(f"{base}.")
    lies_in = [
        (len(room), row)
        for row, rooms in enumerate(order)
        for room in rooms
        if inner == room or inner.startswith(f"{room}.")
    ]
    return max(lies_in)[1] if lies_in else None


@pytest.mark.parametrize(
    ("base", "order"), [("concept_ppl", ORDER), ("concept_ppl.analyses", ANALYSES)]
)
def test_arrows_run_one_way(base: str, order: tuple[tuple[str, ...], ...]) -> None:
    against = []
    for name, found in GRAPH.items():
        own = rank(name, order, base) if name.startswith(f"{base}.") else None
        for other in found if own is not None else ():
            theirs = rank(other, order, base)
            if theirs is not None and theirs > own:
                against.append(f"{name} imports {other}")
    assert against == []


def test_every_room_has_its_place_in_the_order() -> None:
    rooms = {name for name in MODULES if name.count(".") == 1}
    assert {room for room in rooms if rank(room, ORDER, "concept_ppl") is None} == set()


def test_no_room_is_overcrowded_and_each_has_a_door() -> None:
    counts = Counter(path.parent for path in MODULES.values() if path.name != "__init__.py")
    assert {str(room): n for room, n in counts.items() if n > MOST_MODULES} == {}
    assert [str(room) for room in counts if not (room / "__init__.py").is_file()] == []


DOOR = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Expr)


def test_doors_only_name_what_is_public() -> None:
    for name in filter(is_door, MODULES):
        if name == "concept_ppl":  # it imports on demand, which takes a function
            continue
        tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
        assert all(isinstance(node, DOOR) for node in tree.body), name


HEAVY = {
    *("torch", "pyro", "transformers", "statsmodels", "sklearn", "matplotlib", "jinja2", "arviz"),
    *("ray", "fsspec"),
}


@pytest.mark.parametrize(
    ("statement", "left_out"),
    [
        ("import concept_ppl", HEAVY | {"numpy", "pandas", "scipy"}),
        ("import concept_ppl.zoo; concept_ppl.zoo.zoo()", HEAVY | {"numpy", "pandas", "scipy"}),
        ("import concept_ppl.cli", HEAVY | {"numpy", "pandas", "scipy"}),
        ("import concept_ppl.analyses", HEAVY | {"scipy.stats"}),
        ("import concept_ppl.distributed", HEAVY | {"numpy", "pandas", "scipy"}),
        ("import concept_ppl.analyses.studies.theory, concept_ppl.bridge", {"ray"}),
    ],
)
def test_what_is_heavy_is_imported_where_it_is_used(statement: str, left_out: set[str]) -> None:
    script = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert left_out & set(done.stdout.split()) == set()

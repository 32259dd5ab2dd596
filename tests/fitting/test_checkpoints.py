"""A fit that was stopped goes on to the same numbers, and what is stored of it cannot run."""

import ast
import io
import json
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from concept_ppl import fit, simulate
from concept_ppl.errors import InputError

from .programs import mixture

TRUTH = {
    "share": np.array([0.6, 0.4]),
    "emission": np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]]),
}
METHODS = {
    "em": {"restarts": 2},
    "map": {"restarts": 2, "tolerance": 1e-12},
    "map in minibatches": {"restarts": 2, "batch_size": 20, "iterations": 6},
    "svi": {"iterations": 120, "draws": 5},
    "nuts": {"chains": 2, "warmup": 20, "draws": 15},
}


def drawn(n=60, seed=0):
    return simulate(mixture, n, lengths=3, values=TRUTH, seed=seed)[["x"]]


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("name", METHODS)
def test_a_fit_that_was_stopped_ends_in_the_same_numbers(name, tmp_path):
    method, options = name.split()[0], METHODS[name]
    table, path = drawn(), tmp_path / "state"
    whole = fit(mixture, table, method, **options)
    seen = []

    def stop(progress):
        seen.append(progress)
        if len(seen) == (9 if method != "svi" else 2):
            raise StoppedError

    with pytest.raises(StoppedError):
        fit(mixture, table, method, checkpoint=path, checkpoint_seconds=0, progress=stop, **options)
    again = []
    resumed = fit(
        mixture,
        table,
        method,
        checkpoint=path,
        checkpoint_seconds=0,
        progress=again.append,
        **options,
    )
    total = []
    fit(mixture, table, method, progress=total.append, **options)
    assert len(again) < len(total)  # it did not start anew
    for key, draws in whole.draws.items():
        np.testing.assert_array_equal(resumed.draws[key], draws)
    np.testing.assert_array_equal(resumed.restarts, whole.restarts)
    for one, other in zip(resumed.history, whole.history, strict=True):
        np.testing.assert_array_equal(one, other)
    done = fit(mixture, table, method, checkpoint=path, **options)  # a finished one is read
    np.testing.assert_array_equal(done.draws["share"], whole.draws["share"])


def test_the_state_of_another_fit_is_refused(tmp_path):
    path = tmp_path / "state"
    fit(mixture, drawn(), "em", restarts=1, checkpoint=path)
    before = path.read_bytes()
    for changed in ({"seed": 1}, {"restarts": 2}, {"tolerance": 1e-3}):
        with pytest.raises(InputError, match="checkpoint of a fit with another model"):
            fit(mixture, drawn(), "em", checkpoint=path, **{"restarts": 1, **changed})
    with pytest.raises(InputError, match="other tokens or other"):
        fit(mixture, drawn(seed=1), "em", restarts=1, checkpoint=path)
    assert path.read_bytes() == before


class Trap:
    """An object whose unpickling leaves a trace."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def archived(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def text(value):
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def test_a_file_that_is_no_checkpoint_is_refused_and_kept_and_runs_nothing(tmp_path):
    path, trace = tmp_path / "state", tmp_path / "trace"
    trap = np.array([Trap(trace)], dtype=object)
    for content in (
        b"",
        b"no checkpoint",
        pickle.dumps({"identity": "", "state": Trap(trace)}),
        archived(state=trap),
        archived(state=text({"tensor": "0"}), **{"0": trap}),
        archived(state=text([1, 2])),
        archived(state=text({"mapping": [["something", 1]]})),
        archived(state=text({"object": "os.system"})),
        archived(other=text({})),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match="is no checkpoint"):
            fit(mixture, drawn(), "em", restarts=1, checkpoint=path)
        assert path.read_bytes() == content
    assert not trace.exists()


def test_no_source_reads_what_could_run_code():
    """A pickle, or what reads one, anywhere in the package, the zoo or the analyses.

    But for the two ends of a cluster: work goes from the process of a run to its own workers in
    memory, as Ray itself sends it, and no file is opened there.
    """
    root = Path(__file__).parents[2]
    ends = {root / "concept_ppl" / "distributed" / f"ray_{end}.py" for end in ("work", "workers")}
    for end in ends:
        source = end.read_text(encoding="utf-8")
        assert not any(call in source for call in ("pickle.load(", "pickle.dump(", "Unpickler"))
    found = []
    for folder in ("concept_ppl", "models", "analyses"):
        for file in sorted({*(root / folder).rglob("*.py")} - ends):
            found += [
                f"{file.relative_to(root)}:{node.lineno}"
                for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
                if runs_code(node)
            ]
    assert not found


UNSAFE = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def runs_code(node):
    if isinstance(node, ast.Import):
        return any(alias.name.partition(".")[0] in UNSAFE for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").partition(".")[0] in UNSAFE
    if not isinstance(node, ast.Call):
        return False
    given = {word.arg: ast.unparse(word.value) for word in node.keywords}
    name = ast.unparse(node.func)
    reads_torch = name == "torch.load" and given.get("weights_only") != "True"
    imports = name.endswith(("import_module", "__import__")) and bool(node.args)
    hidden = imports and ast.unparse(node.args[0]).strip("'\"") in UNSAFE
    return (
        reads_torch
        or hidden
        or given.get("allow_pickle", "False") != "False"
        or name in {"pd.read_pickle", "pandas.read_pickle"}
    )


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from cloudpickle import loads",
        "import_module('dill')",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
    ],
)
def test_the_search_for_such_sources_finds_one(source):
    assert any(runs_code(node) for node in ast.walk(ast.parse(source)))


def test_progress_tells_what_is_left():
    told = []
    found = fit(mixture, drawn(), "em", restarts=2, progress=told.append)
    assert [t.run for t in told] == sorted(t.run for t in told)
    assert {t.n_runs for t in told} == {2}
    assert all(t.seconds_left >= 0 for t in told)
    last = [t for t in told if t.run == 2][-1]
    assert np.isclose(last.log_evidence_per_token, found.history[1][-1])


SCRIPT = """
import sys, time
import numpy as np
sys.path.insert(0, sys.argv[1])
from programs import mixture
from concept_ppl import fit
from concept_ppl.contexts import Contexts
tokens = np.random.default_rng(0).integers(0, 3, (40, 3))
slow = lambda progress: time.sleep(float(sys.argv[4]))
found = fit(mixture, Contexts.from_padded(tokens), sys.argv[3], restarts=2, chains=2, warmup=20,
            draws=20, iterations=None if sys.argv[3] == "em" else 150, tolerance=1e-10,
            checkpoint=sys.argv[2] or None, checkpoint_seconds=0, progress=slow)
print(repr({name: value.tolist() for name, value in found.draws.items()}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["em", "nuts"])
def test_a_killed_process_goes_on_where_it_was(method, tmp_path):
    here, path = str(Path(__file__).parent), tmp_path / "state"

    def started(checkpoint, pause):
        command = [sys.executable, "-W", "ignore", "-c", SCRIPT, here, checkpoint, method, pause]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    whole, _ = started("", "0").communicate()
    kills = 0
    for _ in range(3):
        process = started(str(path), "0.05")
        before = path.stat().st_mtime_ns if path.exists() else 0
        while process.poll() is None and (not path.exists() or path.stat().st_mtime_ns == before):
            time.sleep(0.01)
        time.sleep(0.3)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.communicate()
    resumed, _ = started(str(path), "0").communicate()
    assert kills >= 1
    assert resumed == whole != ""
    assert [p.name for p in tmp_path.iterdir() if p.suffix == "" and p.name == "state"]

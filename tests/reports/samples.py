"""A small report with made-up numbers, to test the form of reports and nothing else."""

import numpy as np
import pandas as pd

from concept_ppl.reports import (
    RESULT_COLUMNS,
    Figure,
    KeyFigure,
    Report,
    Section,
    Table,
    Verdict,
    control_forest,
    layer_curve,
)

LAYERS = ["embedding", "resid.1", "resid.2", "final_norm"]
MANIFEST = {
    "command": "concept-ppl study language -o report --seed 1",
    "created": "2026-01-01T00:00:00Z",
    "versions": {"concept-ppl": "0.1.0"},
    "seeds": {"contexts": 1},
    "inputs": {"tokens": {"name": "tokens.parquet", "bytes": 10, "sha256": "ab" * 32}},
    "language_model": None,
}


def result(**cells: object) -> dict[str, object]:
    row: dict[str, object] = dict.fromkeys(RESULT_COLUMNS)
    row.update({"analysis": "made up", "ci_level": 0.95, "n": 300, "n_clusters": 280})
    return row | cells


def estimate(value: float, half_width: float = 0.05) -> dict[str, object]:
    return {"estimate": value, "ci_low": value - half_width, "ci_high": value + half_width}


def sample_results() -> pd.DataFrame:
    curve = [
        result(quantity=quantity, layer=layer, control=control, **estimate(level + 0.1 * place))
        for quantity, level in (("smallest", 0.3), ("mean", 0.5))
        for control in ("", "random weights")
        for place, layer in enumerate(LAYERS)
    ]
    levels = [
        result(quantity="r2", control=control, **estimate(value))
        for control, value in (("bag of tokens", 0.86), ("", 0.81), ("shuffled", -0.01))
    ]
    differences = [
        result(quantity="difference", p_value=1e-5, **estimate(-0.05, 0.01)),
        result(quantity="increment", estimate=np.nan),
    ]
    return pd.DataFrame([*curve, *levels, *differences], columns=list(RESULT_COLUMNS))


def sample_curve(**options: str) -> Figure:
    quantities = {"smallest": "Smallest ρ²", "mean": "Mean ρ²"}
    return layer_curve(sample_results(), quantities=quantities, **options)


def sample_forest() -> Figure:
    results = sample_results()
    levels = results[results["quantity"] == "r2"]
    return control_forest(levels, results[results["quantity"].isin(["difference", "increment"])])


def sample_report(text: str = "plain", **changes: object) -> Report:
    """``text`` is put wherever a report takes text, so that a test can make it hostile."""
    table = Table(
        caption=text,
        frame=pd.DataFrame({text: [text, "b"], "p_value": [0.0001, 0.2]}),
        note=text,
    )
    parts: dict[str, object] = {
        "title": text,
        "question": text,
        "verdict": Verdict(text, "not supported", text),
        "key_figures": [KeyFigure(text, 0.81, 0.79, 0.83, text), KeyFigure("no interval", -0.5)],
        "sections": [
            Section(text, text, [sample_curve(caption=text, description=text)], [table]),
            Section("Controls", figures=[sample_forest()]),
        ],
        "methods": Section("Methods", text),
        "results": sample_results(),
        "manifest": MANIFEST | {"arguments": {text: text}},
    }
    return Report(**(parts | changes))  # type: ignore[arg-type]

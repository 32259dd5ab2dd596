"""A report becomes a folder: one page that needs nothing from elsewhere, and its numbers."""

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final
from xml.etree.ElementTree import Element

import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from concept_ppl.errors import InputError
from concept_ppl.formatting import interval, p_value
from concept_ppl.outputs import new_folder, require_writable

from .manifest import plain, write_manifest
from .parts import Figure, KeyFigure, Report, Section, Table, Tone
from .results import tidy_results, write_results
from .svg import draw_svg, inline, standalone
from .tables import TableView, table_view

TONES: Final[dict[Tone, str]] = {
    "supported": "Supported",
    "partly": "Partly",
    "not supported": "Not supported",
    "undecided": "Undecided",
}
KNOWN_BY: Final = ("index.html", "manifest.json")
"""Files that tell a report from other folders."""
MOST_RESULT_ROWS: Final = 500
"""The page prints this many rows of the results; the files always hold all of them."""


def write_report(report: Report, folder: str | Path, *, force: bool = False) -> Path:
    """Write a report as one folder, all of it or nothing.

    Parameters
    ----------
    report
        What to write.
    folder
        Where; receives ``index.html``, ``results.csv``, ``results.json``, ``manifest.json`` and
        ``figures/*.svg``. Missing parent folders are made.
    force
        Replace a report that is already there.

    Returns
    -------
    Path
        Of ``index.html``.

    Raises
    ------
    InputError
        If the folder exists and ``force`` is false, or is not a report's; if the results do not
        have the tidy columns; if a figure's name is taken twice or cannot name a file.
    """
    target = Path(folder)
    require_writable(target, force=force, known_by=KNOWN_BY)
    results = tidy_results(report.results)
    figures = [figure for section in _sections(report) for figure in section.figures]
    _check_report(report, figures)
    drawings = {
        figure.name: draw_svg(figure.drawing, figure.name, themed=figure.themed)
        for figure in figures
    }
    page = render_page(report, drawings, _all_results(results))
    with new_folder(target, force=force, known_by=KNOWN_BY) as temporary:
        (temporary / "index.html").write_text(page, encoding="utf-8")
        write_results(results, temporary)
        write_manifest(report.manifest, temporary)
        (temporary / "figures").mkdir()
        for name, root in drawings.items():
            path = temporary / "figures" / f"{name}.svg"
            path.write_text(standalone(root), encoding="utf-8")
    return target / "index.html"


def render_page(report: Report, drawings: Mapping[str, Element], everything: Table) -> str:
    """Fill the template; ``drawings`` holds the SVG of each figure by name."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["prose"] = prose
    environment.filters["phrase"] = phrase
    environment.filters["plain_text"] = lambda text: text.replace("`", "")
    here = files("concept_ppl.reports")
    template = environment.from_string((here / "template.html").read_text(encoding="utf-8"))
    return template.render(
        report=report,
        style=Markup((here / "style.css").read_text(encoding="utf-8")),
        tone_word=TONES[report.verdict.tone],
        tone_class=report.verdict.tone.replace(" ", "-"),
        key_figures=[
            {
                "label": key.label,
                **_number_and_interval(key),
                "note": key.note,
            }
            for key in report.key_figures
        ],
        sections=[_section_view(section, drawings) for section in _sections(report)],
        everything=table_view(everything),
        command=report.manifest.get("command"),
        provenance=_provenance(report.manifest),
    )


def _number_and_interval(key: KeyFigure) -> dict[str, str]:
    """Return the parts of one line, so that an estimate and its interval share their precision."""
    if key.is_p_value:
        return {"estimate": p_value(key.estimate), "interval": ""}
    estimate, _, ends = interval(key.estimate, key.ci_low, key.ci_high, key.decimals).partition(" ")
    return {"estimate": estimate, "interval": ends}


def prose(text: str) -> Markup:
    """Set plain text as paragraphs, as lists where lines begin with ``- ``, with `code` marked."""
    blocks = [block.strip().splitlines() for block in re.split(r"\n\s*\n", text) if block.strip()]
    return Markup("\n").join(_block(lines) for lines in blocks)


def _block(lines: Sequence[str]) -> Markup:
    if all(line.lstrip().startswith("- ") for line in lines):
        items = (Markup("<li>{}</li>").format(phrase(line.lstrip()[2:])) for line in lines)
        return Markup("<ul>{}</ul>").format(Markup("").join(items))
    return Markup("<p>{}</p>").format(phrase("\n".join(lines)))


def phrase(text: str) -> Markup:
    """Set a line of plain text: `code` between backticks, no line break inside an interval."""
    pieces = text.split("`")
    if len(pieces) % 2 == 0:
        return _keep_intervals(text)
    code = Markup("<code>{}</code>")
    marked = (code.format(p) if i % 2 else _keep_intervals(p) for i, p in enumerate(pieces))
    return Markup("").join(marked)


def _keep_intervals(text: str) -> Markup:
    pieces = re.split(r"([−\d.,]*\d \[[−\d.,–]+, [−\d.,–]+\])", text)
    whole = Markup('<span class="unbroken">{}</span>')
    return Markup("").join(whole.format(p) if i % 2 else p for i, p in enumerate(pieces))


def _all_results(results: pd.DataFrame) -> Table:
    note = "The same rows as in `results.csv` and `results.json`."
    if len(results) > MOST_RESULT_ROWS:
        note = f"The first {MOST_RESULT_ROWS} of {len(results):,} rows; all are in `results.csv`."
    return Table("Every number of this report", results.head(MOST_RESULT_ROWS), note=note)


def _sections(report: Report) -> list[Section]:
    return [*report.sections, *([report.methods] if report.methods else [])]


def _section_view(section: Section, drawings: Mapping[str, Element]) -> dict[str, Any]:
    return {
        "heading": section.heading,
        "text": section.text,
        "figures": [_figure_view(figure, drawings[figure.name]) for figure in section.figures],
        "tables": [table_view(table) for table in section.tables],
    }


def _figure_view(figure: Figure, root: Element) -> dict[str, Any]:
    behind: TableView | None = None
    if figure.data is not None:
        behind = table_view(Table(f"Numbers behind the figure {figure.name}", figure.data))
    description = figure.description or figure.caption
    return {
        "name": figure.name,
        "caption": figure.caption,
        "themed": figure.themed,
        "svg": Markup(inline(root, description, themed=figure.themed)),
        "data": behind,
    }


def _provenance(manifest: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Group the manifest for the page: what is a mapping under its own heading, the rest first."""
    entries = {str(key): value for key, value in plain(manifest).items() if key != "command"}
    single = [
        (_words(key), _words_of(value))
        for key, value in entries.items()
        if not isinstance(value, dict) and value is not None
    ]
    groups = [
        (_words(key), [(name, _words_of(item)) for name, item in value.items()])
        for key, value in entries.items()
        if isinstance(value, dict) and value
    ]
    return [*([("run", single)] if single else []), *groups]


def _words(key: str) -> str:
    return key.replace("_", " ")


def _words_of(value: object) -> str:
    if isinstance(value, dict):
        return " · ".join(f"{_words(key)} {_words_of(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(_words_of(item) for item in value) or "none"
    return "none" if value is None else str(value)


def _check_report(report: Report, figures: Sequence[Figure]) -> None:
    if report.verdict.tone not in TONES:
        raise InputError(f"verdict: tone {report.verdict.tone!r} is none of {', '.join(TONES)}.")
    names = [figure.name for figure in figures]
    for name in names:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,79}", name):
            raise InputError(
                f"figure {name!r}: a name has only lower-case letters, digits, '-' and '_'."
            )
        if names.count(name) > 1:
            raise InputError(f"figure {name!r}: two figures have this name.")

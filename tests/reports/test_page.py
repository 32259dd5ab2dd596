import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import matplotlib.figure
import pytest

from concept_ppl.errors import InputError
from concept_ppl.reports import Figure, Section, Verdict, write_report
from concept_ppl.reports.page import MOST_RESULT_ROWS, TONES, prose

from .samples import sample_curve, sample_report, sample_results

HOSTILE = """<script>alert("1")</script>'"><img src=x onerror=alert(1)>&{{ 7 * 7 }}$x^$"""


class Page(HTMLParser):
    """Collects the elements and attributes of a page, as a browser would see them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def tags(self, name: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.elements if tag == name]


def read(index: Path) -> tuple[str, Page]:
    text = index.read_text(encoding="utf-8")
    return text, Page(text)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_report_is_a_folder_of_the_promised_files(tmp_path):
    index = write_report(sample_report(), tmp_path / "new" / "report")
    assert index == tmp_path / "new" / "report" / "index.html"
    assert set(contents(index.parent)) == {
        "index.html",
        "results.csv",
        "results.json",
        "manifest.json",
        "figures/layer_curve.svg",
        "figures/control_forest.svg",
    }
    assert [path.name for path in index.parent.parent.iterdir()] == ["report"]


def test_the_page_asks_for_nothing_from_elsewhere(tmp_path):
    text, page = read(write_report(sample_report(), tmp_path / "report"))
    for tag, attributes in page.elements:
        assert tag not in {"link", "iframe", "img", "object", "embed", "base", "form"}
        for key in ("src", "href", "xlink:href", "data", "srcset", "action"):
            assert attributes.get(key, "#").startswith("#"), (tag, attributes)
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    policy = next(meta["content"] for meta in page.tags("meta") if "http-equiv" in meta)
    assert "default-src 'none'" in policy


def test_what_refers_to_an_id_finds_exactly_one(tmp_path):
    text, page = read(write_report(sample_report(), tmp_path / "report"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {
        attributes[key][1:]
        for _, attributes in page.elements
        for key in ("href", "xlink:href")
        if key in attributes
    }
    assert targets | set(re.findall(r"url\(#([^)]*)\)", text)) <= set(ids)


def test_the_page_can_be_read_without_seeing_it(tmp_path):
    _, page = read(write_report(sample_report("what it shows"), tmp_path / "report"))
    assert page.tags("html")[0]["lang"] == "en"
    assert len(page.tags("h1")) == len(page.tags("main")) == len(page.tags("nav")) == 1
    drawings = [svg for svg in page.tags("svg") if svg.get("role") == "img"]
    assert len(drawings) == 2
    assert drawings[0]["aria-label"] == "what it shows"
    assert all(svg["aria-label"] for svg in drawings)
    assert len(page.tags("caption")) == len(page.tags("table"))
    assert all("scope" in head for head in page.tags("th"))


@pytest.mark.parametrize("tone", ["supported", "partly", "not supported", "undecided"])
def test_the_tone_of_the_verdict_is_told_in_a_word_and_a_sign(tmp_path, tone):
    _, page = read(write_report(sample_report(verdict=Verdict("So.", tone)), tmp_path / "report"))
    assert tone.capitalize() in page.text
    signs = {attributes["d"] for attributes in page.tags("path") if "d" in attributes}
    other = "supported" if tone != "supported" else "undecided"
    _, beside = read(write_report(sample_report(verdict=Verdict("So.", other)), tmp_path / "two"))
    assert signs != {attributes["d"] for attributes in beside.tags("path") if "d" in attributes}


def test_every_tone_has_its_own_line_and_colour_in_both_themes():
    style = (files("concept_ppl.reports") / "style.css").read_text(encoding="utf-8")
    for tone in TONES:
        name = tone.replace(" ", "-")
        assert len(re.findall(rf"--{name}: #", style)) == 2
        assert tone == "supported" or f".verdict.{name} {{" in style


def test_text_is_never_taken_for_markup(tmp_path):
    text, page = read(write_report(sample_report(HOSTILE), tmp_path / "report"))
    assert len(page.tags("script")) == 1
    assert not page.tags("img")
    assert not any(key.startswith("on") for _, attributes in page.elements for key in attributes)
    assert page.tags("svg")[1]["aria-label"] == HOSTILE
    assert "{{ 7 * 7 }}" in text
    # title, header, sentence, remark, key figure twice, contents, section twice, caption of the
    # figure, caption, label, head, cell and note of the table, methods, provenance twice
    assert page.text.count("{{ 7 * 7 }}") >= 15


def test_numbers_read_the_same_everywhere(tmp_path):
    text, page = read(write_report(sample_report(), tmp_path / "report"))
    assert '0.810</span> <span class="interval">[0.790, 0.830]</span>' in text
    assert '−0.500</span><span class="about"' not in text
    assert "−0.050 [−0.060, −0.040]" in page.text
    assert "estimate [95% interval]" in page.text
    assert "< .001" in page.text
    assert not re.search(r"\bnan\b", page.text, re.IGNORECASE)


def test_a_long_table_is_folded_and_a_short_one_is_not(tmp_path):
    _, page = read(write_report(sample_report(), tmp_path / "report"))
    folded = [words for words in page.words if words.endswith(" rows")]
    assert folded == ["16 rows", "5 rows", "21 rows"]


def test_the_page_shows_the_first_rows_of_many_and_says_so(tmp_path):
    results = sample_results().sample(MOST_RESULT_ROWS + 1, replace=True, random_state=0)
    index = write_report(sample_report(results=results), tmp_path / "report")
    assert f"first {MOST_RESULT_ROWS} of {MOST_RESULT_ROWS + 1}" in read(index)[1].text
    rows = (index.parent / "results.csv").read_text().splitlines()
    assert len(rows) == MOST_RESULT_ROWS + 2


def test_the_same_report_is_the_same_bytes(tmp_path):
    first = write_report(sample_report(), tmp_path / "first").parent
    second = write_report(sample_report(), tmp_path / "second").parent
    assert contents(first) == contents(second)


def test_a_report_that_is_there_is_replaced_only_when_forced(tmp_path):
    folder = tmp_path / "report"
    write_report(sample_report("first"), folder)
    before = contents(folder)
    with pytest.raises(InputError, match="already exists"):
        write_report(sample_report("second"), folder)
    assert contents(folder) == before
    (folder / "figures" / "stale.svg").write_text("")
    write_report(sample_report("second"), folder, force=True)
    assert set(contents(folder)) == set(before)
    assert "second" in (folder / "index.html").read_text()


def test_force_does_not_delete_a_folder_that_is_no_report(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"home is a folder without index\.html"):
        write_report(sample_report(), folder, force=True)
    assert (folder / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("step", ["write_results", "write_manifest", "standalone"])
def test_a_failure_while_writing_leaves_the_old_report_and_nothing_else(
    tmp_path, monkeypatch, step
):
    folder = tmp_path / "report"
    write_report(sample_report("first"), folder)
    before = contents(folder)

    def fail(*arguments: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(f"concept_ppl.reports.page.{step}", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report(sample_report("second"), folder, force=True)
    assert contents(folder) == before
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "A curve", "a/b", ".hidden", "a\n"])
def test_a_figure_cannot_name_a_file_elsewhere(tmp_path, name):
    section = Section("Figures", figures=[sample_curve(name=name)])
    with pytest.raises(InputError, match="a name has only"):
        write_report(sample_report(sections=[section]), tmp_path / "report")
    assert not list(tmp_path.iterdir())


def test_two_figures_cannot_share_a_name(tmp_path):
    section = Section("Figures", figures=[sample_curve(), sample_curve()])
    with pytest.raises(InputError, match="two figures"):
        write_report(sample_report(sections=[section]), tmp_path / "report")


def test_an_unknown_tone_is_refused(tmp_path):
    with pytest.raises(InputError, match="tone 'proven' is none of"):
        write_report(sample_report(verdict=Verdict("So.", "proven")), tmp_path / "report")


def test_a_drawing_of_ones_own_stands_on_a_light_card(tmp_path):
    canvas = matplotlib.figure.Figure()
    canvas.subplots().plot([0, 1], [0, 1])
    section = Section("Mine", figures=[Figure("mine", "Mine.", canvas)])
    text, page = read(write_report(sample_report(sections=[section]), tmp_path / "report"))
    assert {"class": "drawing card"} in page.tags("div")
    assert "--figure" not in text.partition('id="figure-mine"')[2]


def test_prose_knows_paragraphs_items_and_code():
    assert prose("one\n\ntwo `a < b`") == "<p>one</p>\n<p>two <code>a &lt; b</code></p>"
    assert prose("- one\n- two") == "<ul><li>one</li><li>two</li></ul>"
    assert prose("an odd ` mark") == "<p>an odd ` mark</p>"
    assert prose("") == ""


def test_an_interval_is_not_broken_over_two_lines():
    whole = '<span class="unbroken">−0.049 [−0.061, −0.037]</span>'
    assert prose("by −0.049 [−0.061, −0.037].") == f"<p>by {whole}.</p>"
    assert prose("see [1, 2] & <b>") == "<p>see [1, 2] &amp; &lt;b&gt;</p>"


def test_the_rows_of_the_page_are_the_rows_of_the_results(tmp_path):
    text, _ = read(write_report(sample_report(), tmp_path / "report"))
    table = text.partition('<section id="results">')[2].partition("</table>")[0]
    assert table.count("<tr>") == len(sample_results()) + 1
    assert "0.860 [0.810, 0.910]" in table

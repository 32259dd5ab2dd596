"""Labelled texts: what is read, what is fitted, and that its posterior is the one by hand."""

import csv
import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from concept_ppl.analyses.studies.labelled.report import label_scores
from concept_ppl.analyses.studies.labelled.texts import LabelledTexts, read_labelled, words_of
from concept_ppl.analyses.studies.labelled.words import CONCENTRATIONS, LabelledWords, fit_words
from concept_ppl.errors import InputError
from concept_ppl.inference.posteriors import posterior

DATA = Path(__file__).parents[2] / "data" / "labelled_texts"
WORDS = ["sun", "rain", "goal", "ball", "hall", "song", "and", "the"]


def planted(n: int, *, share: float = 0.7, seed: int = 0) -> LabelledTexts:
    """Texts whose words come from one of two labels, a share of them from the first."""
    rng = np.random.default_rng(seed)
    tables = [rng.dirichlet(np.full(len(WORDS), 0.4), size=k) for k in (3, 2)]
    labels = {"topic": rng.integers(0, 3, n), "tone": rng.integers(0, 2, n)}
    texts = []
    for row in range(n):
        first = rng.random(12) < share
        numbers = [
            rng.choice(
                len(WORDS), p=tables[0 if one else 1][labels["topic" if one else "tone"][row]]
            )
            for one in first
        ]
        texts.append(" ".join(WORDS[number] for number in numbers))
    categories = {"topic": ("a", "b", "c"), "tone": ("u", "v")}
    return LabelledTexts(tuple(texts), labels, categories, np.arange(n))


def one_label(texts: LabelledTexts, name: str) -> LabelledTexts:
    return LabelledTexts(
        texts.texts, {name: texts.labels[name]}, {name: texts.categories[name]}, texts.clusters
    )


def log_p(words: LabelledWords, texts: LabelledTexts, label: str) -> np.ndarray:
    frame = posterior(words.program(), words.contexts(texts)).to_frame()
    return frame[[f"log_p.{label}.{v}" for v in words.labels[label]]].to_numpy()


def test_with_one_label_the_tables_are_smoothed_counts_and_the_posterior_is_bayes_by_hand() -> None:
    texts = one_label(planted(80), "topic")
    fitted = fit_words(texts)
    counts = np.zeros((3, len(fitted.words)))
    for text, value in zip(texts.texts, texts.labels["topic"], strict=True):
        for word in text.split():
            counts[value, fitted.words.index(word)] += 1
    overall = (counts.sum(0) + 1) / (counts.sum() + len(fitted.words))
    kappa = fitted.concentration
    assert kappa in CONCENTRATIONS
    theta = (counts + kappa * overall) / (counts.sum(1, keepdims=True) + kappa)
    assert_allclose(fitted.tables[0], theta, rtol=1e-12)
    prior = (np.bincount(texts.labels["topic"], minlength=3) + 0.5) / (80 + 1.5)
    new = one_label(planted(20, seed=1), "topic")
    for text, row in zip(new.texts, log_p(fitted, new, "topic"), strict=True):
        numbers = [fitted.words.index(word) for word in text.split()]
        joint = np.log(prior) + np.log(theta[:, numbers]).sum(axis=1)
        assert_allclose(row, joint - np.logaddexp.reduce(joint), atol=1e-9)


def test_with_two_labels_the_posterior_sums_over_the_source_of_each_word() -> None:
    fitted, new = fit_words(planted(200)), planted(10, seed=1)
    found = {label: log_p(fitted, new, label) for label in fitted.labels}
    for row, text in enumerate(new.texts):
        joint = np.log(fitted.prior)
        for a, b in itertools.product(range(3), range(2)):
            for word in text.split():
                w = fitted.words.index(word)
                p = fitted.shares[0] * fitted.tables[0][a, w]
                joint[a, b] += np.log(p + fitted.shares[1] * fitted.tables[1][b, w])
        joint -= np.logaddexp.reduce(joint, axis=None)
        assert_allclose(found["topic"][row], np.logaddexp.reduce(joint, axis=1), atol=1e-9)
        assert_allclose(found["tone"][row], np.logaddexp.reduce(joint, axis=0), atol=1e-9)


def test_the_fit_finds_how_many_words_each_label_brings_and_tells_labels_it_never_saw() -> None:
    texts = planted(1500)
    training, test = texts.halves(0)
    fitted = fit_words(training)
    assert fitted.shares[0] == pytest.approx(0.7, abs=0.1)
    frame = posterior(fitted.program(), fitted.contexts(test)).to_frame()
    scores = label_scores(fitted, test, frame).set_index("label")
    assert (scores["loss"] < 0.8 * scores["prior_loss"]).all()
    assert (scores["accuracy"] > scores["commonest"] + 0.1).all()


def test_a_word_that_was_never_seen_says_nothing() -> None:
    texts = planted(80)
    fitted = fit_words(texts)
    strange = LabelledTexts(
        ("zebra quagga", "sun zebra", "sun"),
        {name: numbers[:3] for name, numbers in texts.labels.items()},
        texts.categories,
        np.arange(3),
    )
    found = log_p(fitted, strange, "topic")
    assert_allclose(np.exp(found[0]), fitted.prior.sum(axis=1), atol=1e-12)
    assert_allclose(found[1], found[2], atol=1e-12)


def test_halves_are_halves_and_split_no_group() -> None:
    texts = planted(200)
    grouped = LabelledTexts(texts.texts, texts.labels, texts.categories, np.arange(200) % 37)
    first, second = grouped.halves(3)
    assert len(first) + len(second) == 200
    assert abs(len(first) - len(second)) <= 6
    assert not set(first.clusters) & set(second.clusters)
    assert set(first.texts[:5]) != set(grouped.halves(4)[0].texts[:5])


def test_words_are_letters_in_lower_case_with_their_apostrophes() -> None:
    assert words_of("Don’t, it's ÉTÉ – 3 o'clock!") == ["don’t", "it's", "été", "3", "o'clock"]


def test_the_shipped_table_is_what_its_generator_writes_and_is_read() -> None:
    spec = importlib.util.spec_from_file_location("generate", DATA / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    with (DATA / "topics_and_tones.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == generate.sentences()
    texts = read_labelled(DATA / "topics_and_tones.csv", cluster="template")
    assert len(texts) == len(rows) >= 300
    assert texts.categories["tone"] == ("annoyed", "glad", "plain")
    assert all(text.endswith(".") for text in texts.texts)


GOOD = [f"the sun {n} shines,{'ab'[n % 2]}" for n in range(80)]


@pytest.mark.parametrize(
    ("lines", "options", "message"),
    [
        ([], {}, r"no column text; its first line has: nothing"),
        (["words,label", *GOOD], {}, r"no column text; its first line has: words, label"),
        (["text"] + ["hello"] * 80, {}, "no column of labels beside text"),
        (["text,label", *GOOD[:40]], {}, "has 40 texts"),
        (["text,label", *GOOD, "a, b,a"], {}, r"line 82: 3 cells where the header has 2"),
        (["text,label", *GOOD, " ,a"], {}, "line 82: text is empty"),
        (["text,label", *GOOD, "?!,a"], {}, "line 82: text has no word"),
        (["text,label", *GOOD, "rain,"], {}, "line 82: label is empty"),
        (["text,label", *GOOD, "rain,c"], {}, "1 texts have the label 'c'"),
        (["text,label"] + ["sun,a"] * 80, {}, "every text has the same label, 'a'"),
        (["text,label"] + [f"sun {n},{n}" for n in range(80)], {}, "label has 80 values"),
        (["text,label"] + [f"sun {n},v.{n % 2}" for n in range(80)], {}, "full stop"),
        (["text,x", *GOOD], {}, "column 'x' cannot name a concept"),
        (["text,a b", *GOOD], {}, "column 'a b' cannot name a concept"),
        (["text,a,a", *GOOD], {}, "two columns called a"),
        (["text,label"] + ["sun,a", "rain,b"] * 40, {}, "2 groups of texts"),
        (["text,label", *GOOD], {"labels": ["tone"]}, "no column tone; it has: text, label"),
        (["text,label", *GOOD], {"cluster": "who"}, "no column who"),
        (["text,label", *GOOD, '"open,a'], {}, "cannot be read as a CSV"),
    ],
)
def test_a_table_that_is_none_is_told_in_one_sentence(
    tmp_path: Path, lines: list[str], options: dict[str, object], message: str
) -> None:
    path = tmp_path / "texts.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(InputError, match=message) as error:
        read_labelled(path, **options)  # type: ignore[arg-type]
    assert "texts.csv" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_table_and_one_in_another_encoding_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_labelled(tmp_path / "texts.csv")
    (tmp_path / "texts.csv").write_bytes("text,label\nété,a\n".encode("latin-1"))
    with pytest.raises(InputError, match="is not text in UTF-8"):
        read_labelled(tmp_path / "texts.csv")


def test_a_text_may_be_longer_than_the_csv_module_expects(tmp_path: Path) -> None:
    path = tmp_path / "texts.csv"
    limit = csv.field_size_limit()
    long = "rain " * limit
    path.write_text("\n".join(["text,label", *GOOD, f"{long},a"]), encoding="utf-8")
    assert len(read_labelled(path).texts[-1]) > limit
    assert csv.field_size_limit() == limit

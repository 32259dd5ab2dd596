"""The word pairs that come with the package: complete, distinct, inflected as the language is."""

from pathlib import Path

import numpy as np
import pytest
from wordfreq import zipf_frequency

from concept_ppl.analyses.pairs.designs import lexeme_components
from concept_ppl.contexts.counterfactual_pairs import read_pairs

FOLDER = Path(__file__).parents[2] / "data" / "counterfactual_pairs"
VOWELS = "aeiou"
RELATIONS = """verb - 3pSg|verb - Ving|verb - Ved|Ving - 3pSg|Ving - Ved|3pSg - Ved|verb - V + able
verb - V + er|verb - V + tion|verb - V + ment|adj - un + adj|adj - adj + ly|small - big
thing - color|thing - part|country - capital|pronoun - possessive|male - female|lower - upper
noun - plural|adj - comparative|adj - superlative|frequent - infrequent|English - French
French - German|French - Spanish|German - Spanish""".replace("\n", "|").split("|")
LANGUAGES = {"English": "en", "French": "fr", "German": "de", "Spanish": "es"}
DOUBLED = ["stop", "drop", "plan", "permit", "prefer", "admit", "hot", "wet", "flat"]
IRREGULAR_PLURALS = {"child": "children", "goose": "geese", "mouse": "mice", "wolf": "wolves"}
RAREST = 1.6
"""Zipf frequency that even a superlative should have in a large corpus: less is a misspelling."""


@pytest.fixture(scope="module")
def lists():
    pairs = read_pairs(FOLDER)
    return {
        concept: [
            (pairs.words[a], pairs.words[b])
            for a, b in zip(
                pairs.first[pairs.concept == code], pairs.second[pairs.concept == code], strict=True
            )
        ]
        for code, concept in enumerate(pairs.concepts)
    }


def test_every_relation_is_there_with_forty_pairs_where_the_language_has_them(lists):
    assert sorted(lists) == sorted(RELATIONS)
    assert {name for name, own in lists.items() if len(own) < 40} == {"pronoun - possessive"}


def test_no_line_is_skipped_and_no_first_word_has_two_answers(lists):
    assert read_pairs(FOLDER).skipped == ()
    for name, own in lists.items():
        firsts = [first for first, _ in own]
        assert len(set(firsts)) == len(firsts), name


def test_every_word_is_known_in_its_language(lists):
    for name, own in lists.items():
        kinds = [LANGUAGES.get(kind, "en") for kind in name.split(" - ")]
        for pair in own:
            for word, language in zip(pair, kinds, strict=True):
                assert zipf_frequency(word, language) > RAREST, (name, word)


def third_person(verb):
    if verb.endswith(("s", "sh", "ch", "x", "z")):
        return verb + "es"
    if verb.endswith("y") and verb[-2] not in VOWELS:
        return verb[:-1] + "ies"
    return verb + "s"


def with_ending(word, ending):
    """Add a vowel ending by the rules of English spelling."""
    if word in DOUBLED:
        return word + word[-1] + ending
    if word.endswith("e"):
        return word[:-1] + ending
    if word.endswith("y") and word[-2] not in VOWELS and not ending.startswith("i"):
        return word[:-1] + "i" + ending
    return word + ending


def test_verbs_adjectives_and_nouns_are_inflected_by_the_rules(lists):
    for name, rule in {
        "verb - 3pSg": third_person,
        "verb - Ving": lambda verb: with_ending(verb, "ing"),
        "verb - Ved": lambda verb: with_ending(verb, "ed"),
        "adj - comparative": lambda adjective: with_ending(adjective, "er"),
        "adj - superlative": lambda adjective: with_ending(adjective, "est"),
        "noun - plural": lambda noun: (
            IRREGULAR_PLURALS.get(noun) or third_person(noun)
            if not noun.endswith("o") or noun == "radio"
            else noun + "es"
        ),
        "adj - un + adj": lambda adjective: "un" + adjective,
        "lower - upper": str.capitalize,
    }.items():
        wrong = [(a, b, rule(a)) for a, b in lists[name] if b != rule(a)]
        assert not wrong, name


def test_relations_of_one_verb_close(lists):
    forms = {name: dict(lists[f"verb - {name}"]) for name in ("3pSg", "Ving", "Ved")}
    for start in ("Ving", "3pSg"):
        for end in {"Ving": ("3pSg", "Ved"), "3pSg": ("Ved",)}[start]:
            expected = {(forms[start][verb], forms[end][verb]) for verb in forms[start]}
            assert set(lists[f"{start} - {end}"]) == expected


def test_translations_agree_along_every_way(lists):
    french, german = dict(lists["French - German"]), dict(lists["German - Spanish"])
    assert {f: german[g] for f, g in french.items()} == dict(lists["French - Spanish"])
    assert {f for _, f in lists["English - French"]} == set(french)


def test_derived_words_end_as_their_list_says(lists):
    for ending in ("able", "er", "tion", "ment"):
        for verb, derived in lists[f"verb - V + {ending}"]:
            assert derived.endswith(ending)
            assert derived[:2] == verb[:2], (verb, derived)
    assert all(b.endswith("ly") and b[:2] == a[:2] for a, b in lists["adj - adj + ly"])


def test_the_frequent_word_is_more_frequent(lists):
    for frequent, rare in lists["frequent - infrequent"]:
        gap = zipf_frequency(frequent, "en") - zipf_frequency(rare, "en")
        assert gap > 0.5, (frequent, rare)


def test_no_large_set_of_words_hangs_together():
    pairs = read_pairs(FOLDER)
    sizes = np.bincount(lexeme_components(pairs.first, pairs.second))
    assert len(sizes) > 700
    assert sizes.max() <= 12

"""The report of the study: curves against the predictor gap, the table of looks, the verdict."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from concept_ppl.analyses import Estimate
from concept_ppl.reports import (
    RESULT_COLUMNS,
    Figure,
    GapPanel,
    KeyFigure,
    Report,
    Section,
    Table,
    Verdict,
    gap_curves,
    interval,
    number,
)

from .plan import CEILING, UNTRAINED, AdaptationStudy
from .verdicts import CEILING_MARGIN, Looks, Outcome, outcome

STUDY = "adaptation"
LAYER = "final_norm"
QUESTION = (
    "Do a language model's states become an invertible affine image of the log-posterior as its "
    "predictions come to be Bayes's?"
)
SERIES = {
    "world": "trained on the world's texts",
    "exchanged": "tokens exchanged between texts",
    UNTRAINED: "untrained twin",
    CEILING: "Bayes's own log-ratios",
}
PANELS = (
    GapPanel("R² of the log-odds, held out", "r2_backward"),
    GapPanel("Smallest ρ²", "rho2_smallest"),
    GapPanel("Power α̂: 0 is log p, 1 is p", "alpha", is_share=False),
)
AXIS = "predictor gap: KL from Bayes's next word, nats (closing →)"


def adaptation_report(looks: Looks, manifest: Mapping[str, Any]) -> Report:
    """Compose the report; see :class:`concept_ppl.reports.Report`."""
    study = looks.study
    return Report(
        title="Before and after",
        question=QUESTION,
        verdict=_verdict(looks),
        key_figures=_key_figures(looks),
        sections=[
            _curves_section(looks),
            *(_looks_section(looks, seed) for seed in _seeds(study)),
            _controls_section(looks),
            *_own_section(looks),
            _exchanged_section(looks),
        ],
        results=_tidy(looks),
        manifest=manifest,
        methods=_methods(study),
    )


def _seeds(study: AdaptationStudy) -> list[int]:
    return sorted({training.seed for training in study.trainings})


def written(value: Estimate, decimals: int = 3) -> str:
    """Write an estimate with its interval."""
    return interval(value.estimate, value.ci_low, value.ci_high, decimals)


def _verdict(looks: Looks) -> Verdict:
    seed = looks.study.seed
    found = [outcome(looks, one) for one in _seeds(looks.study)]
    gap, share = (
        [when(name, "world", seed) for when in (looks.before, looks.after)]
        for name in ("predictor_gap", "r2_backward")
    )
    sentence = (
        f"{_opening(found)} While the predictor gap went from {written(gap[0])} to "
        f"{written(gap[1])} nats, held-out R² of the log-odds went from {written(share[0])} to "
        f"{written(share[1])}, where Bayes's own log-predictive reaches "
        f"{written(looks.ceiling('r2_backward'))}."
    )
    remark = f"{_form(looks, seed)} {_beyond(looks, seed)}{_silence(looks, seed, found[0])}"
    return Verdict(sentence, _tone(found), remark)


def _tone(found: list[Outcome]) -> Any:
    tones = {one.tone for one in found}
    return tones.pop() if len(tones) == 1 else "undecided"


def _opening(found: list[Outcome]) -> str:
    if len({one.tone for one in found}) > 1:
        came = sum(one.tone == "supported" for one in found)
        return f"It depends on the training: the claim came true in {came} of {len(found)}."
    first = found[0]
    if first.tone == "supported":
        return "The claim comes true as the gap closes, as far as it is true of Bayes."
    if first.tone == "not supported":
        return (
            "The gap closed and the claim did not come true with it."
            if first.silent or not first.risen
            else "Texts without meaning teach as much, so that nothing is shown."
        )
    if first.closed:
        return "The claim comes nearer as the gap closes, but not up to what is true of Bayes."
    return "The gap did not close, so that the claim was not put to the test."


def _form(looks: Looks, seed: int) -> str:
    """Say which power of the posterior the states follow, beside that of Bayes's log-ratios."""
    before, after = (when("alpha", "world", seed) for when in (looks.before, looks.after))
    ceiling = looks.ceiling("alpha")
    relation = "which is not told apart from"
    if after.ci_high < ceiling.ci_low:
        relation = "which is nearer to the logarithm (0) than"
    elif after.ci_low > ceiling.ci_high:
        relation = "which is nearer to the posterior itself (1) than"
    return (
        f"After training the states follow the power α̂ = {written(after)} of the posterior "
        f"(before, {written(before)}), {relation} that of Bayes's log-ratios, {written(ceiling)}; "
        "these fall short of α = 0 and R² = 1 where the next word does not name the concept for "
        "sure."
    )


def _beyond(looks: Looks, seed: int) -> str:
    """Say that states hold more than prediction asks for, where they do."""
    difference = looks.after("r2_difference:ceiling", "world", seed)
    if not difference.ci_low > 0:
        return ""
    return (
        f"Their R² is {written(difference)} above that of Bayes's log-ratios: they hold more of "
        "the log-odds than the next word asks for. "
    )


def _silence(looks: Looks, seed: int, found: Outcome) -> str:
    exchanged = looks.after("r2_backward", "exchanged", seed)
    gap = looks.after("predictor_gap", "exchanged", seed)
    word = "stays" if found.silent else "does not stay"
    return (
        f"The same training on texts whose tokens were exchanged {word} below: R² "
        f"{written(exchanged)}, at a predictor gap of {written(gap)} nats."
    )


def _key_figures(looks: Looks) -> list[KeyFigure]:
    seed = looks.study.seed
    wanted = (
        ("Predictor gap, after", "predictor_gap", "nats, KL from Bayes"),
        ("R² of the log-odds, after", "r2_backward", "held out"),
        ("Less the ceiling's", "r2_difference:ceiling", "0: as good as Bayes"),
        ("Less the best control's", "r2_difference:best", "above 0: learned"),
    )
    figures = []
    for label, quantity, note in wanted:
        value = looks.after(quantity, "world", seed)
        figures.append(KeyFigure(label, value.estimate, value.ci_low, value.ci_high, note))
    return figures


def _curves_section(looks: Looks) -> Section:
    frame = looks.frame.assign(series=looks.frame["kind"], run=looks.frame["seed"])
    gaps = frame[frame["quantity"] == "predictor_gap"]
    by_look = gaps.set_index(["kind", "seed", "step"])["estimate"].to_dict()
    keys = zip(frame["kind"], frame["seed"], frame["step"], strict=True)
    drawn = frame.assign(gap=[by_look.get(key, float("nan")) for key in keys])
    drawn = drawn[drawn["quantity"].isin([panel.quantity for panel in PANELS])]
    figure: Figure = gap_curves(
        drawn,
        PANELS,
        series=SERIES,
        model="world",
        ceiling=CEILING,
        axis=AXIS,
        name="before_and_after",
        caption="Each dot is a look at a training, joined in the order of its steps; whiskers are "
        f"{100 * looks.study.level:g}% intervals over held-out texts. Dotted: the same of Bayes's "
        "own log-predictive ratios as states, which is what good prediction alone asks for; states "
        "may hold more.",
    )
    text = (
        "The predictor gap is the mean KL divergence from Bayes's exact distribution of the next "
        "word to the model's, over the words that may follow and in nats; it falls to the right. "
        "If the claim is a consequence of good prediction, the blue curve climbs to the dotted "
        "line as it moves right, and the grey ones, whose training has nothing to do with the "
        "concept, neither climb nor move right of "
        f"{written(looks.ceiling('uninformed_gap'))} nats, the gap of a predictor that knows how "
        "often each word follows and nothing of the text."
    )
    return Section("Against the predictor gap", text, [figure])


COLUMNS = {
    "gap, nats": "predictor_gap",
    "R²(Z|F)": "r2_backward",
    "smallest ρ²": "rho2_smallest",
    "α̂": "alpha",
}
MORE = {
    "given to the words": "mass",
    "R² less control": "r2_difference:best",
    "R² less ceiling": "r2_difference:ceiling",
}


def _looks_section(looks: Looks, seed: int) -> Section:
    of = "" if looks.study.seeds == 1 else f", seed {seed}"
    ceiling = {title: written(looks.ceiling(name), 2) for title, name in COLUMNS.items()}
    ceiling["gap, nats"] = "0"
    first = Table(
        f"Along the training{of}",
        pd.DataFrame([*_look_rows(looks, seed, COLUMNS), {"step": "Bayes", **ceiling}]),
        note="R²(Z|F): of the log-odds given the states. Bayes: of its own log-ratios.",
    )
    second = Table(
        f"Along the training{of}, continued",
        pd.DataFrame(_look_rows(looks, seed, MORE)),
        note="Given to the words: what the model leaves to all that may follow. R² less control: "
        "minus that of the control that is best inside the training folds, paired; less ceiling: "
        "minus that of Bayes's own log-ratios. Loss: mean of the last 50 steps, nats a token.",
    )
    return Section(
        f"Look by look{of}",
        "The model that is trained on the world's own texts, before the first step and then at "
        "steps that grow apart, since most of what changes changes early.",
        tables=[first, second],
    )


def _look_rows(looks: Looks, seed: int, columns: Mapping[str, str]) -> list[dict[str, str]]:
    rows = []
    for step in looks.study.looks:
        row = {"step": f"{step:,}"}
        for title, name in columns.items():
            row[title] = written(
                looks.of(name, "world", seed, step), 2 if columns is COLUMNS else 3
            )
        if columns is MORE:
            row["loss"] = number(looks.loss("world", seed, step))
        rows.append(row)
    return rows


def _controls_section(looks: Looks) -> Section:
    seed = looks.study.seed
    own = looks.frame[(looks.frame["kind"] == "world") & (looks.frame["seed"] == seed)]
    names = [str(name) for name in dict.fromkeys(own["quantity"])]
    model = [
        {
            "states": f"the model {when} training",
            "R²": written(look("r2_backward", "world", seed)),
        }
        for when, look in (("before", looks.before), ("after", looks.after))
    ]
    rows = [
        {
            "states": f"{kind}{name.partition(':')[2]}",
            "R²": written(looks.after(name, "world", seed)),
        }
        for prefix, kind in (("r2_backward:", ""), ("r2_rule:", "rule, "))
        for name in names
        if name.startswith(prefix) and not name.endswith(":best")
    ]
    increment = looks.after("r2_increment:best", "world", seed)
    text = (
        "What tells of the log-odds without having been trained to: readers of tokens, of pairs "
        "of neighbours and of their order, made of what tokens say in the world itself, of which "
        "tokens they are, and of the input embeddings before training; a twin of the network with "
        "other random weights; and log-odds shuffled between texts. None of them changes as "
        f"training goes on. After training, the model's states add {written(increment)} to the R² "
        "of the best of them, which each fold chooses in its training folds. A look-up, marked as "
        "a rule, is no control but what is to be learned, hard-wired."
    )
    table = Table("Held-out R² of the log-odds", pd.DataFrame([*model, *rows]))
    return Section("Learned, or only linear", text, tables=[table])


OWN = {
    "distance from the exact one, nats": "own_distance",
    "R² of its own log-odds": "own_r2_backward",
    "α̂ of its own": "own_alpha",
}


def _own_section(looks: Looks) -> list[Section]:
    """Return what the model itself believes along the way, where its next word says it."""
    if not (looks.frame["quantity"] == "own_distance").any():
        return []
    table = Table(
        "The posterior that the model's next words imply",
        pd.DataFrame(_look_rows(looks, looks.study.seed, OWN)),
        note="Distance: Jensen–Shannon divergence, at most log 2. A dash: its weights hardly vary.",
    )
    text = (
        "A model that is not Bayes in this world may still hold a posterior of its own: the "
        "weights of the concept's values under which the world would predict the next word as the "
        "model does. As the gap closes they must become the exact posterior; the form is asked of "
        "the states in the logarithm of these weights, too."
    )
    return [Section("Whose posterior", text, tables=[table])]


def _exchanged_section(looks: Looks) -> Section:
    seed = looks.study.seed
    rows = []
    for step in looks.study.looks:
        row = {"step": f"{step:,}"}
        for title, name in COLUMNS.items():
            row[title] = written(looks.of(name, "exchanged", seed, step), 2)
        rows.append(row)
    text = (
        "The negative control of the training itself: the same model, recipe and number of steps, "
        "on texts in which, position by position, tokens have changed places with those of other "
        "texts of the same length, and so have the words that follow. Each position has the words "
        "that it had; what a text tells of its concept is gone. It is asked about the world's own "
        "held-out texts."
    )
    table = Table("Along the training on exchanged texts", pd.DataFrame(rows))
    return Section("Trained on texts without meaning", text, tables=[table])


def _tidy(looks: Looks) -> pd.DataFrame:
    rows = looks.frame.copy()
    parts = rows["quantity"].str.partition(":")
    names = dict.fromkeys(RESULT_COLUMNS, "")
    whose = rows["kind"] + ", seed " + rows["seed"].map(str) + ", step " + rows["step"].map(str)
    tidy = rows.assign(
        **{name: value for name, value in names.items() if name not in rows},
    ).assign(analysis=STUDY, quantity=parts[0], control=parts[2], term=whose, layer=LAYER)
    return tidy[list(RESULT_COLUMNS)]


def _methods(study: AdaptationStudy) -> Section:
    recipe = study.recipe
    size = study.word_level
    if study.language_model is None:
        model = (
            f"A Llama of {size.blocks} blocks and width {size.width} from its config, random "
            "weights, with one token for each word of the world. Every weight learns."
        )
    else:
        which = "every block" if recipe.blocks is None else f"the last {recipe.blocks} blocks"
        how = f"by LoRA maps of rank {recipe.lora}" if recipe.lora else "with their own weights"
        model = f"`{study.language_model}`; {which} learn {how}, everything else stays."
    knobs = ", ".join(f"{name} = {value}" for name, value in study.parameters.items())
    world = f"`{study.world}`{f' ({knobs})' if knobs else ''}"
    text = (
        f"World: {world}. {model} AdamW, {recipe.steps:,} steps of {recipe.batch} texts each, "
        f"simulated for that step and never used again; peak learning rate "
        f"{recipe.learning_rate:g}, warmed up and lowered along a cosine. The loss is the mean "
        "cross-entropy of the next token, nats, over all tokens of a text and the word that "
        "follows it; nothing in it knows of the concept.\n\n"
        f"Analyses: {study.n_contexts:,} held-out texts from seeds of their own, their posterior "
        "and next-word distribution exact. States are those at the final norm, at the end of the "
        "text. Log-odds are contrasts with the first value; R², canonical correlations and α̂ are "
        "cross-fitted, with intervals over distinct texts. The gap is renormalised over the words "
        "that may follow; what the model gives to other words is in the table.\n\n"
        "The gap is said to have closed where it is smaller after than before and less than half "
        "that of a predictor that knows how often each word follows and nothing of the text. The "
        "claim is said to have come true with it where, by these intervals, R² of the log-odds is "
        "higher than before, above the best control's, above that of the training on exchanged "
        f"texts, and not more than {CEILING_MARGIN:g} below that of Bayes's own log-ratios."
    )
    return Section("Methods", text)

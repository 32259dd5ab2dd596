"""Write ``topics_and_tones.csv``: short sentences of four topics and three tones, by this seed.

A sentence is an opening, which carries the tone, and a clause, which carries the topic. Slots are
filled from the lists below; some words belong to one topic or tone alone, most are only likelier
there, so that the posterior of a label is graded, as it is in real text. Every sentence ends with
the same full stop, at which a language model's state can be read.
"""

import csv
import random
from pathlib import Path

SEED = 0
N_EACH = 2
"""Sentences for each pair of an opening and a clause."""

OPENINGS = {
    "glad": [
        "{glad} {anyone} {said} that",
        "to our {joy} it {turned} out that",
        "what a {joy} , because",
        "{anyone} {smiled} when {anyone} heard that",
        "it was {fine} news that",
    ],
    "annoyed": [
        "{cross} {anyone} {said} that",
        "to our {anger} it {turned} out that",
        "what a {anger} , because",
        "{anyone} {sighed} when {anyone} heard that",
        "it was {foul} news that",
    ],
    "plain": [
        "{calm} {anyone} {said} that",
        "in the {paper} it {turned} out that",
        "as the {paper} had it ,",
        "{anyone} {nodded} when {anyone} heard that",
        "it was {usual} news that",
    ],
}
CLAUSES = {
    "cooking": [
        "the {dish} {stayed} in the {pot} for an hour",
        "{anyone} put {much} {spice} into the {dish}",
        "there was {much} {spice} on the {dish}",
        "the {cook} tasted the {dish} {often}",
        "the {pot} was too {hot} for the {dish}",
        "{anyone} {carried} the {dish} to the {table}",
        "the {cook} had no {spice} for the {table}",
        "a {hot} {dish} came to the {table} {often}",
    ],
    "sport": [
        "the {team} {stayed} in the {league} for a year",
        "{anyone} {carried} the {ball} over the {line}",
        "there was {much} {noise} in the {ground}",
        "the {coach} watched the {team} {often}",
        "the {ground} was too {hot} for the {team}",
        "{anyone} kicked the {ball} at the {coach}",
        "the {team} had no {luck} in the {league}",
        "a {hot} {match} came to the {ground} {often}",
    ],
    "weather": [
        "the {storm} {stayed} over the {land} for a day",
        "{anyone} saw {much} {rain} above the {land}",
        "there was {much} {rain} on the {land}",
        "the {forecast} named the {storm} {often}",
        "the {land} was too {hot} for {rain}",
        "{anyone} {carried} an umbrella through the {storm}",
        "the {forecast} had no {rain} for the {land}",
        "a {hot} {storm} came to the {land} {often}",
    ],
    "music": [
        "the {band} {stayed} in the {hall} for a night",
        "{anyone} put {much} {sound} into the {song}",
        "there was {much} {sound} in the {hall}",
        "the {player} practised the {song} {often}",
        "the {hall} was too {hot} for the {band}",
        "{anyone} {carried} the {instrument} into the {hall}",
        "the {player} had no {instrument} for the {song}",
        "a {hot} {song} came to the {hall} {often}",
    ],
}
SLOTS = {
    "glad": ["happily", "proudly", "gladly", "finally", "really", "at last"],
    "cross": ["angrily", "bitterly", "sadly", "finally", "really", "again"],
    "calm": ["quietly", "later", "briefly", "finally", "first", "again"],
    "fine": ["wonderful", "good", "great", "lovely", "recent", "big"],
    "foul": ["terrible", "bad", "sad", "poor", "recent", "big"],
    "usual": ["usual", "good", "old", "local", "recent", "sad"],
    "joy": ["joy", "delight", "surprise", "relief", "pleasure", "day"],
    "anger": ["shame", "nuisance", "surprise", "waste", "disgrace", "day"],
    "paper": ["paper", "letter", "note", "list", "plan", "report"],
    "smiled": ["smiled", "laughed", "cheered", "clapped", "nodded"],
    "sighed": ["sighed", "groaned", "shouted", "frowned", "nodded"],
    "nodded": ["nodded", "listened", "waited", "answered", "looked"],
    "anyone": ["my sister", "a friend", "he", "she", "our neighbour", "the boy", "her uncle"],
    "said": ["said", "wrote", "told us", "mentioned", "repeated"],
    "turned": ["turned", "came", "worked"],
    "stayed": ["stayed", "was", "stood", "lasted", "sat"],
    "carried": ["carried", "took", "brought", "held", "followed"],
    "often": ["twice", "all day", "again", "every week", "at last", "for hours"],
    "much": ["much", "little", "no", "some", "more", "heavy"],
    "hot": ["hot", "cold", "small", "loud", "wet", "dark", "slow", "fresh"],
    "table": ["table", "kitchen", "guests", "children", "plate"],
    "dish": ["soup", "stew", "bread", "fish", "cake", "rice", "roll", "mix"],
    "pot": ["pot", "oven", "pan", "bowl", "kitchen", "drum"],
    "spice": ["salt", "pepper", "garlic", "butter", "sugar", "water", "heat"],
    "cook": ["cook", "chef", "baker", "waiter", "guest", "team"],
    "team": ["team", "keeper", "club", "runner", "captain", "side", "band"],
    "league": ["league", "cup", "final", "lead", "race", "ground"],
    "ball": ["ball", "bat", "net", "flag", "cup"],
    "line": ["line", "goal", "field", "track", "bridge"],
    "noise": ["cheering", "noise", "running", "shouting", "heat", "rain"],
    "ground": ["stadium", "ground", "field", "pitch", "hall", "track"],
    "coach": ["coach", "trainer", "referee", "captain", "guest", "player"],
    "luck": ["luck", "points", "speed", "rest", "lead"],
    "match": ["match", "game", "race", "final", "show", "run"],
    "storm": ["storm", "fog", "wind", "cloud", "front", "thunder", "hail"],
    "land": ["coast", "valley", "field", "hills", "town", "bridge", "ground"],
    "rain": ["rain", "snow", "sun", "frost", "water", "heat", "wind"],
    "forecast": ["forecast", "radio", "station", "map", "captain", "report"],
    "band": ["band", "choir", "orchestra", "singer", "club", "crowd"],
    "hall": ["hall", "theatre", "church", "square", "stadium", "club"],
    "sound": ["feeling", "sound", "rhythm", "echo", "noise", "cheering"],
    "song": ["song", "tune", "dance", "record", "show", "piece"],
    "player": ["player", "singer", "drummer", "pianist", "coach", "guest"],
    "instrument": ["piano", "drum", "violin", "guitar", "bowl", "horn"],
}


def sentences() -> list[dict[str, str]]:
    """Return the rows of the table."""
    draw = random.Random(SEED)
    rows, seen = [], set()
    for topic, clauses in CLAUSES.items():
        for tone, openings in OPENINGS.items():
            for number, clause in enumerate(clauses):
                for place, opening in enumerate(openings):
                    for _ in range(N_EACH):
                        text = _filled(f"{opening} {clause}", draw)
                        if text in seen:
                            continue
                        seen.add(text)
                        template = f"{topic}{number + 1}-{tone}{place + 1}"
                        row = {"text": text, "topic": topic, "tone": tone, "template": template}
                        rows.append(row)
    draw.shuffle(rows)
    return rows


def _filled(pattern: str, draw: random.Random) -> str:
    """Fill every slot, and write the sentence as one."""
    words = []
    for word in pattern.split():
        slot = word.strip("{}")
        words.append(draw.choice(SLOTS[slot]) if word.startswith("{") else word)
    text = " ".join(words).replace(" ,", ",")
    return f"{text[0].upper()}{text[1:]}."


def main() -> None:
    """Write the table beside this file."""
    path = Path(__file__).with_name("topics_and_tones.csv")
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["text", "topic", "tone", "template"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(sentences())


if __name__ == "__main__":
    main()

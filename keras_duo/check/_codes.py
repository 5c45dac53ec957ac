"""The codes of all findings, and the findings about a model rather than a pair."""

from dataclasses import dataclass
from typing import Any

from keras_duo.check._evidence_rules import EVIDENCE_RULES, OUTPUT_RULES
from keras_duo.check._label_rules import LABEL_RULES
from keras_duo.check._metric_rules import METRIC_RULES
from keras_duo.check._probability_rules import PROBABILITY_RULES
from keras_duo.check._score_rules import SCORE_RULES
from keras_duo.check.finding import SEVERITIES, Finding

# Of a pair; then, where none of them is an error, of what the probe shows; then of each metric.
PAIR_RULES = PROBABILITY_RULES + SCORE_RULES + LABEL_RULES + OUTPUT_RULES
RULES = PAIR_RULES + EVIDENCE_RULES + METRIC_RULES


@dataclass(frozen=True)
class General:
    """A finding that no rule about a pairing makes. The texts are templates."""

    severity: str
    problem: str
    consequence: str
    fix: str


GENERAL = {
    "one-output-many-losses": General(
        "error",
        "One output is compiled with a list of {count} losses.",
        "In `fit(x, y)` Keras trains {first} alone, silently; the others are computed and dropped.",
        "Pass one loss, or one that holds the sum, such as keras_duo.MultiObjective.",
    ),
    "untracked-weights": General(
        "error",
        "The function that the layer applies uses {names}, which the model does not know.",
        "They are in none of its variables: no step changes them, and a saved model has not got "
        "them.",
        "Make them the weights of a layer, and pass the layer itself; if they are meant to stay as "
        "they are, set `trainable` of them to False.",
    ),
    "not-compiled": General(
        "unknown",
        "The model is not compiled.",
        "There is no loss to compare the output with.",
        "Call `model.compile(loss=...)` first.",
    ),
    "unknown-loss": General(
        "unknown",
        "{reason}.",
        "Whether the output fits it cannot be told.",
        "Check by hand what range of values the loss expects.",
    ),
    "unknown-output": General(
        "unknown",
        "The values of the output cannot be told: {reason}.",
        "Whether they fit the loss cannot be told either.",
        "Check by hand what range of values the output can take, or pass some `x`.",
    ),
}


def general(code: str, where: str, **figures: Any) -> Finding:
    """A finding about a model rather than a pair."""
    kind = GENERAL[code]
    texts = (kind.problem, kind.consequence, kind.fix)
    return Finding(kind.severity, code, where, *(text.format(**figures) for text in texts))


def _severities() -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {code: {kind.severity} for code, kind in GENERAL.items()}
    for rule in RULES:
        found.setdefault(rule.code, set()).add(rule.severity)
    return {
        code: tuple(sorted(severities, key=SEVERITIES.index))
        for code, severities in sorted(found.items())
    }


CODES = _severities()

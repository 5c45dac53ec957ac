"""Finding: one thing that `check` has to say about a model."""

from dataclasses import asdict, dataclass
from functools import total_ordering
from typing import Any

SEVERITIES = ("error", "warning", "advice", "unknown")


@total_ordering
@dataclass(frozen=True)
class Finding:
    """One thing that `check` has to say about a model.

    Findings are equal if all their fields are, and sort by severity: errors first.

    Attributes:
        severity: "error": the pair cannot do what it is for. "warning": it trains, and something
            is lost, or a metric misleads. "advice": there may be better. "unknown": `check` could
            not look.
        code: A stable name, a key of `CODES`; `docs/check.md` has a section on each.
        where: The output, and the layer that gives it its values.
        problem: What does not fit.
        consequence: What that does to training or to the predictions.
        fix: What to change.

    Example:
        >>> import json, keras, keras_duo
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, name="head")])
        >>> model.compile(loss="binary_crossentropy")
        >>> (finding,) = keras_duo.check(model)
        >>> finding.severity, finding.code, finding.where
        ('error', 'logits-as-probabilities', "output 'head' (layer 'head')")
        >>> json.dumps(finding.to_dict())[:21]
        '{"severity": "error",'
    """

    severity: str
    code: str
    where: str
    problem: str
    consequence: str
    fix: str

    def __str__(self) -> str:
        return (
            f"{self.severity}: {self.code}: {self.where}\n"
            f"  {self.problem}\n  {self.consequence}\n  Fix: {self.fix}"
        )

    def __lt__(self, other: Any) -> bool:
        if not isinstance(other, Finding):
            return NotImplemented
        return self._order() < other._order()

    def to_dict(self) -> dict[str, str]:
        """The fields as a plain dictionary that JSON can hold."""
        return asdict(self)

    def _order(self) -> tuple:
        return SEVERITIES.index(self.severity), *list(asdict(self).values())[1:]

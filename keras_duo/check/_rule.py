"""What a rule of `check` looks at, and what it says: data that can be asked."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_duo._labels import Labels
from keras_duo._validate import may_be_equal
from keras_duo.check._loss_table import LossFacts
from keras_duo.check._metric_table import MetricFacts
from keras_duo.check._output_end import OutputEnd
from keras_duo.check._probe import Evidence


@dataclass(frozen=True)
class Pairing:
    """An output and one of its losses, or one of its metrics; None is what is not known.

    `end.kind` is "unknown" where the graph cannot be read, `loss.family` where the loss cannot.
    """

    end: OutputEnd
    loss: LossFacts
    shape: tuple
    labels: Labels | None = None
    evidence: Evidence | None = None
    metric: MetricFacts | None = None

    @property
    def coding(self) -> str | None:
        """How the labels are written; `Labels.coding`."""
        return None if self.labels is None else self.labels.coding

    @property
    def classes(self) -> int | None:
        """Size of the axis that the loss takes for the classes."""
        axis = self.loss.axis
        return self.shape[axis] if -len(self.shape) <= axis < len(self.shape) else None

    @property
    def layout(self) -> str | None:
        """Whether there is a label "per unit" or "per group" of units that share one.

        "other" is a shape that fits neither way; None: there are no labels.
        """
        if self.labels is None:
            return None
        given, output = self.labels.shape[1:], self.shape[1:]
        if not output:
            return "per unit" if given in ((), (1,)) else "other"
        axis = self.loss.axis % len(self.shape) - 1
        grouped = output[:axis] + output[axis + 1 :]
        ones = (*output[:axis], 1, *output[axis + 1 :])
        if may_be_equal(given, output) or (
            output[-1:] == (1,) and may_be_equal(given, output[:-1])
        ):
            return "per unit"
        if may_be_equal(given, grouped) or may_be_equal(given, ones):
            return "per group"
        return "per unit" if may_be_equal(given, (*output, 1)) else "other"


@dataclass(frozen=True)
class Rule:
    """A finding about a pairing, and the pairings it is for. None admits everything.

    `codings` are those of the labels; a rule that names some needs labels. The texts are templates;
    `figures` lists what they may name.
    """

    code: str
    severity: str
    kinds: tuple[str, ...] | None
    families: tuple[str, ...] | None
    from_logits: bool | None
    problem: str
    consequence: str
    fix: str
    when: Callable[[Pairing], bool] = lambda pairing: True
    codings: tuple[str, ...] | None = None

    def applies(self, pairing: Pairing) -> bool:
        """Whether the finding is to be made."""
        return (
            (self.kinds is None or pairing.end.kind in self.kinds)
            and (self.families is None or pairing.loss.family in self.families)
            and self.from_logits in (None, pairing.loss.from_logits)
            and (self.codings is None or pairing.coding in self.codings)
            and self.when(pairing)
        )


def figures(pairing: Pairing) -> dict[str, Any]:
    """What the texts of a rule may name."""
    end, loss = pairing.end, pairing.loss
    # With two classes a bound on the largest probability is the loosest: true for any number.
    units, classes = max(end.units or 2, 2), max(pairing.classes or 2, 2)
    top = math.e / (math.e + units - 1)
    partner = {"categorical": "softmax", "labelled-class": "softmax"}.get(loss.family, "sigmoid")
    if loss.family in ("divergence", "overlap"):
        partner = "softmax or sigmoid"
    end_in_partner = f"end the model in a {partner}."
    has_logits = loss.family in ("binary", "categorical")
    low = (end.before or end).low
    p_low = 1 / (1 + math.exp(-low)) if math.isfinite(low) else 0.0
    found = {
        "activation": end.activation,
        "loss": loss.name,
        "axis": loss.axis,
        "units": end.units,
        "classes": pairing.classes,
        "last_class": (pairing.classes or 1) - 1,
        "head_quantiles": list(end.quantiles or ()),
        "loss_quantiles": list(loss.quantiles),
        "before": end.before.activation if end.before else "",
        "low": end.low,
        "before_low": low,
        "high": end.high,
        "dtype": end.dtype,
        "partner": partner,
        "repair": f"Set `from_logits=True` in the loss, or {end_in_partner}"
        if has_logits
        else f"E{end_in_partner[1:]}",
        "top": top,
        "top_classes": math.e / (math.e + classes - 1),
        "floor": -math.log(top),
        "p_low": p_low,
        "floor_negative": -math.log1p(-p_low),
        "top_bounded": 1 / (1 + (classes - 1) * math.exp(-2)),
        "output_shape": _shape(pairing.shape),
    }
    if pairing.labels is not None:
        found |= _label_figures(pairing, pairing.labels)
    if pairing.evidence is not None:
        found |= vars(pairing.evidence)
    if pairing.metric is not None:
        threshold = pairing.metric.threshold or 0.0
        found |= {
            "metric": pairing.metric.name,
            "threshold": threshold,
            "p_threshold": 1 / (1 + math.exp(-threshold)),
        }
    return found


def _label_figures(pairing: Pairing, labels: Labels) -> dict[str, Any]:
    end, ids = pairing.end, valid_ids(pairing)
    outside = (ids < 0) | (ids >= (pairing.classes or np.inf)) | (ids != np.round(ids))
    counts = sorted(labels.counts.values()) or [0]
    return {
        "label_shape": _shape((None, *labels.shape[1:])),
        "label_low": labels.low,
        "label_high": labels.high,
        "outside": 100 * labels.share_outside(end.low, end.high),
        "bad_ids": int(outside.sum()),
        "bad_id": float(ids[outside][0]) if outside.any() else 0.0,
        "negative": 100 * labels.share_outside(0, math.inf),
        "positives": 100 * labels.positives,
        "rarest": counts[0],
        "commonest": counts[-1],
        "ones": float(labels.rows.sum(axis=-1).max()),
        "not_finite": labels.not_finite,
    }


def valid_ids(pairing: Pairing) -> np.ndarray:
    """The labels that the loss takes for class ids."""
    if pairing.labels is None:
        return np.empty(0)
    finite = pairing.labels.finite
    return finite if pairing.loss.ignored is None else finite[finite != pairing.loss.ignored]


def _shape(shape: tuple) -> str:
    names = ["B", *("?" if size is None else str(size) for size in shape[1:])]
    return f"({', '.join(names)}{',' if len(names) == 1 else ''})"

"""Rules about the labels, for an output and a loss."""

import math

from keras_duo.check._loss_table import PLAIN_CROSSENTROPIES
from keras_duo.check._rule import Pairing, Rule, valid_ids

# With fewer examples a class that is hardly there says nothing.
_ENOUGH = 100
_RARE = 0.1

# Losses that compare each output with a label of its own.
_ELEMENTWISE = ("binary", "hinge", "rate", "log-error", "regression", "adversarial")
_SHAPED = (*_ELEMENTWISE, "categorical", "labelled-class", "divergence", "categorical-hinge",
           "overlap", "quantile")  # fmt: skip


def _several_classes(pairing: Pairing) -> bool:
    return pairing.classes not in (None, 1)


def _wrong_ids(pairing: Pairing) -> bool:
    ids, classes = valid_ids(pairing), pairing.classes
    if classes is None or (pairing.layout == "per unit" and _several_classes(pairing)):
        return False
    return bool(((ids < 0) | (ids >= classes) | (ids != ids.round())).any())


def _outside_unit(pairing: Pairing) -> bool:
    labels = pairing.labels
    if labels is None or pairing.layout != "per unit":
        return False
    values = valid_ids(pairing)
    return bool(((values < -1e-6) | (values > 1 + 1e-6)).any())


def _no_distribution(pairing: Pairing) -> bool:
    labels = pairing.labels
    if labels is None or pairing.layout != "per unit" or not _several_classes(pairing):
        return False
    if pairing.loss.axis % len(pairing.shape) != len(pairing.shape) - 1 or labels.low < 0:
        return False
    # A row of zeros is an example that does not count.
    sums = labels.rows.sum(axis=-1)
    return bool((abs(sums - 1) > 2e-3)[sums != 0].any())


def _outside_reach(pairing: Pairing) -> bool:
    end, labels = pairing.end, pairing.labels
    if labels is None or pairing.layout == "other" or end.kind == "unknown":
        return False
    return labels.share_outside(end.low, end.high) > 0


def _imbalanced(pairing: Pairing) -> bool:
    labels = pairing.labels
    if labels is None or pairing.loss.name not in PLAIN_CROSSENTROPIES:
        return False
    # For sequences and images the frequencies are the matter itself: words, background.
    if len(pairing.shape) != 2 or pairing.layout == "other":
        return False
    counts = list(labels.counts.values())
    enough = sum(counts) >= max(_ENOUGH, 10 * len(counts))
    return len(counts) > 1 and enough and min(counts) < _RARE * max(counts)


def _few_positives(pairing: Pairing) -> bool:
    labels = pairing.labels
    return (
        labels is not None
        and pairing.loss.name in PLAIN_CROSSENTROPIES
        and len(labels.rows) >= _ENOUGH
        and 0 < labels.positives < _RARE / (1 + _RARE)
    )


LABEL_RULES = (
    Rule(
        "not-finite", "error", None, None, None,
        "{not_finite} of the labels are NaN or infinite.",
        "One of them makes the loss of its batch NaN, and after that step every weight.",
        "Drop those examples, or give their labels a value and a sample_weight of 0.",
        when=lambda p: p.labels is not None and p.labels.not_finite > 0,
    ),
    Rule(
        "one-hot-with-sparse-loss", "error", None, ("categorical", "labelled-class"), None,
        "The labels have the shape {label_shape} of the outputs, and {loss} expects one class id "
        "for each example.",
        "It raises, or takes each 0 and 1 for the id of a class.",
        "Use the loss for one-hot labels, such as CategoricalCrossentropy.",
        when=lambda p: p.loss.labels == "ids" and p.layout == "per unit" and _several_classes(p),
    ),
    Rule(
        "ids-with-categorical-loss", "error", None,
        ("categorical", "categorical-hinge", "divergence"), None,
        "The labels have the shape {label_shape}, one number for each example, and {loss} expects "
        "one for each of {classes} classes.",
        "CategoricalCrossentropy raises. CategoricalFocalCrossentropy, CategoricalHinge and "
        "KLDivergence take labels of shape (B, 1) for the same label in every class.",
        "Use the loss for class ids, such as SparseCategoricalCrossentropy, or "
        "`keras.utils.to_categorical`.",
        when=lambda p: p.loss.labels in ("distribution", "unit")
        and p.layout == "per group"
        and _several_classes(p),
    ),
    Rule(
        "label-out-of-range", "error", None, ("categorical", "labelled-class", "sequence"), None,
        "{bad_ids} of the labels, such as {bad_id:g}, are not ids of the {classes} classes 0 to "
        "{last_class}.",
        "TensorFlow raises in the step without XLA and gives NaN with it; JAX counts such a label "
        "as a loss of 0; a fraction is cut off.",
        "Give the output a unit for each class, number the classes from 0, or set `ignore_class`.",
        when=lambda p: p.loss.labels == "ids" and _wrong_ids(p),
    ),
    Rule(
        "labels-not-probabilities", "error", None,
        ("binary", "categorical", "divergence", "overlap", "adversarial"), None,
        "The labels range from {label_low:g} to {label_high:g}, and {loss} expects them from 0 to "
        "1.",
        "A crossentropy with a label outside has no minimum: with -1 or 2 its gradient pushes the "
        "logit on for ever, to a loss of minus infinity. Adversarial losses are NaN.",
        "Code the labels as 0 and 1, or as probabilities.",
        when=lambda p: p.loss.labels != "ids" and _outside_unit(p),
    ),
    Rule(
        "multi-hot-with-categorical-loss", "warning", None, ("categorical",), None,
        "The labels of an example sum to {ones:g} for some, and {loss} expects one distribution.",
        "The classes share one probability of 1: two labels that are both true get 0.5 each at "
        "best, with a loss of 1.386, and an example counts by the number of its labels.",
        "For several labels an example use a sigmoid and BinaryCrossentropy.",
        when=lambda p: p.loss.labels == "distribution" and _no_distribution(p),
        codings=("multi-hot", "unit"),
    ),
    Rule(
        "hinge-labels", "error", None, ("hinge",), None,
        "The labels range from {label_low:g} to {label_high:g}, and are neither all -1 or 1 nor "
        "all 0 or 1.",
        "Keras recodes 0 and 1 to -1 and 1 only in a batch of nothing else. Elsewhere a label of 0 "
        "costs 1 for every output, with gradient exactly 0.",
        "Code the labels as -1 and 1.",
        when=lambda p: p.labels is not None
        and not (p.labels.only(0, 1) or p.labels.only(-1, 1)),
    ),
    Rule(
        "hinge-labels", "advice", None, ("hinge",), None,
        "The labels are 0 and 1, and {loss} is about -1 and 1.",
        "Keras recodes them batch by batch, and only where all of a batch are exactly 0 or 1: one "
        "smoothed label among them, and the zeros of its batch have gradient 0.",
        "Code the labels as -1 and 1.",
        codings=("binary", "one-hot", "multi-hot"),
    ),
    Rule(
        "targets-out-of-reach", "error", None,
        ("regression", "quantile", "rate", "log-error"), None,
        "{outside:.1f} % of the labels lie outside [{low:g}, {high:g}], the range of {activation}.",
        "No output reaches them: their error has a floor, and the nearer the output is to its "
        "bound the smaller its gradient, down to exactly 0 for relu.",
        "Make the output linear, or scale the labels into the range.",
        when=_outside_reach,
    ),
    Rule(
        "negative-counts", "error", None, ("rate", "log-error",), None,
        "{negative:.1f} % of the labels are negative, and {loss} is about counts.",
        "Poisson has no minimum for them: the gradient 1 - y/p is above 1 and pushes the rate to "
        "0. MeanSquaredLogarithmicError counts them as 0.",
        "Use a loss for real numbers, such as MeanSquaredError.",
        when=lambda p: p.labels is not None and p.labels.share_outside(0, math.inf) > 0,
    ),
    Rule(
        "label-shape", "error", None, _SHAPED, None,
        "The labels have the shape {label_shape} and the outputs {output_shape}.",
        "The crossentropies and the losses of keras_duo raise. Keras' others broadcast the two "
        "where they can: a label is compared with outputs that are not its own.",
        "Give the labels the shape of the outputs.",
        when=lambda p: p.layout == "other"
        or (p.layout == "per group" and p.loss.family in _ELEMENTWISE),
    ),
    Rule(
        "label-shape", "error", None, ("unknown",), None,
        "The labels have the shape (B,) and the outputs (B, 1), and {loss} does not align them.",
        "They broadcast to (B, B): every label is compared with every output, and the best that "
        "the model can do is to give all examples the same value.",
        "Give the labels the shape (B, 1).",
        when=lambda p: p.evidence is not None and p.evidence.broadcasts,
    ),
    Rule(
        "imbalanced-labels", "advice", None, ("binary", "categorical"), None,
        "The rarest class has {rarest} examples and the commonest {commonest}, and {loss} counts "
        "each example alike.",
        "The common class makes up almost all of the gradient at first, and accuracy looks good "
        "without the rare one. Plain crossentropy keeps probabilities honest; it is no mistake.",
        "If the rare class matters more: `class_weight` in `fit`, or a focal loss; and a metric "
        "such as AUC(curve='PR').",
        when=_imbalanced,
        codings=("binary", "one-hot", "ids"),
    ),
    Rule(
        "imbalanced-labels", "advice", None, ("binary",), None,
        "{positives:.1f} % of the labels are 1, and {loss} counts each label alike.",
        "The negatives make up almost all of the gradient at first, and accuracy looks good "
        "without a single positive. Plain crossentropy keeps probabilities honest; it is no "
        "mistake.",
        "If the positives matter more: Focal or AsymmetricFocal; and a metric such as "
        "AUC(curve='PR').",
        when=_few_positives,
        codings=("multi-hot",),
    ),
)  # fmt: skip

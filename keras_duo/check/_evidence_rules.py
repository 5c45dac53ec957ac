"""Rules about what a probe batch shows."""

from keras_duo.check._rule import Pairing, Rule


def _shows(pairing: Pairing, name: str) -> bool:
    return bool(pairing.evidence is not None and getattr(pairing.evidence, name))


def _labels_finite(pairing: Pairing) -> bool:
    return pairing.labels is not None and not pairing.labels.not_finite


def _learns(pairing: Pairing, what: str) -> bool:
    return pairing.evidence is not None and pairing.evidence.learns == what


def _some_stopped(pairing: Pairing) -> bool:
    return _shows(pairing, "stopped") and not _learns(pairing, "nothing")


OUTPUT_RULES = (
    Rule(
        "not-finite", "error", None, None, None,
        "{bad_outputs} values of the output are NaN or infinite on {examples} probe examples.",
        "The loss of the batch is NaN, and after that step every weight.",
        "Look for NaN in `x` and in the weights, and for overflow in half precision.",
        when=lambda p: _shows(p, "bad_outputs"),
    ),
)  # fmt: skip

EVIDENCE_RULES = (
    Rule(
        "not-finite", "error", None, None, None,
        "The output and the labels are finite, and {loss} is NaN or infinite for {bad_losses} of "
        "{examples} probe examples.",
        "The loss of the batch is NaN, and after that step every weight.",
        "Keep the outputs in the range of the loss.",
        when=lambda p: _shows(p, "bad_losses")
        and not _shows(p, "bad_outputs")
        and _labels_finite(p),
    ),
    Rule(
        "constant-output", "error", None, None, None,
        "The output is the same for all {examples} probe examples.",
        "No weight matrix has a gradient other than 0, only biases: it will stay the same for "
        "every input.",
        "Look for relu units that are never active, inputs that are not scaled, or a mask that "
        "covers everything.",
        when=lambda p: _shows(p, "constant") and _learns(p, "biases"),
    ),
    Rule(
        "zero-gradient", "error", None, None, None,
        "No weight of the model gets a gradient other than 0 from {loss} on {examples} probe "
        "examples.",
        "Nothing is learned.",
        "Look for an operation without a gradient (rounding, argmax, a cast to integers), or for "
        "outputs that are clipped.",
        when=lambda p: _learns(p, "nothing"),
    ),
    Rule(
        "capped-loss", "error", None,
        ("binary", "categorical", "categorical-hinge", "divergence", "hinge", "labelled-class",
         "rate", "log-error", "regression", "quantile", "boxes", "overlap", "adversarial"), None,
        "{stopped} of {examples} probe examples have a loss of up to {stopped_loss:.3g} and a "
        "gradient of exactly 0.",
        "Those examples are wrong, and nothing corrects them.",
        "Compute the loss from logits: a linear output and `from_logits=True`. For boxes that do "
        "not meet use GIoU, DIoU or CIoU in place of IoU.",
        when=_some_stopped,
    ),
    Rule(
        "capped-loss", "advice", None, ("unknown", "embedding"), None,
        "{stopped} of {examples} probe examples have a loss of up to {stopped_loss:.3g} and a "
        "gradient of exactly 0.",
        "Nothing corrects those examples. A loss may mean that.",
        "See whether the loss clips something that it need not clip.",
        when=_some_stopped,
    ),
    Rule(
        "loss-fails", "error", None, None, None,
        "{loss} raises on the probe batch: {raised}.",
        "Training would end with the same error.",
        "Make labels and outputs fit the loss.",
        when=lambda p: _shows(p, "raised"),
    ),
)  # fmt: skip

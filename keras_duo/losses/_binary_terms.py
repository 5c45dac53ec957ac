"""What the losses over independent labels are made of, from one exponential."""

from typing import Any, NamedTuple

from keras import ops


class BinaryTerms(NamedTuple):
    """p and 1 - p of logits, each to its own last digit, and -log of both."""

    on: Any
    off: Any
    on_entropy: Any
    off_entropy: Any


def binary_terms(logits: Any) -> BinaryTerms:
    """The terms of each logit."""
    size = ops.abs(logits)
    small = ops.exp(-size)
    likely, unlikely, rest = 1.0 / (1.0 + small), small / (1.0 + small), ops.log1p(small)
    positive = logits >= 0
    return BinaryTerms(
        on=ops.where(positive, likely, unlikely),
        off=ops.where(positive, unlikely, likely),
        on_entropy=rest + ops.where(positive, 0.0, size),
        off_entropy=rest + ops.where(positive, size, 0.0),
    )


def power(base: Any, log_base: Any, exponent: float) -> Any:
    """`base` to the exponent; without an exponential where that is a small integer."""
    if exponent == 0:
        return ops.ones_like(base)
    if exponent in (1, 2):
        return base if exponent == 1 else base * base
    if exponent in (3, 4):
        square = base * base
        return square * (base if exponent == 3 else square)
    return ops.exp(exponent * log_base)

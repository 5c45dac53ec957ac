"""What an activation that looks at its input looks at, and how that reaches each position."""

from typing import Any

import keras
from keras import ops

from keras_duo._validate import choice

CONTEXT = choice("mean", "position")


def pooled(x: Any, axis: int, context: str, mask: Any) -> Any:
    """What the coefficients are computed from, channels last: each position, or their mean."""
    rank = len(x.shape)
    if mask is not None:
        mask = ops.cast(mask, "bool")
        mask = ops.expand_dims(mask, tuple(range(len(mask.shape), rank)))
        x = ops.where(mask, x, 0.0)
    positions = _positions(x, axis)
    if not positions:
        return x
    if context == "position":
        return ops.moveaxis(x, axis, -1) if axis % rank != rank - 1 else x
    wide = keras.backend.result_type(x.dtype, "float32")  # a long sum overflows half precision
    mean = ops.mean(ops.cast(x, wide), positions)
    if mask is not None:
        # Of the entries that count; the sum over none of them is 0.
        mean = mean / ops.maximum(ops.mean(ops.cast(mask, wide), positions), 1e-30)
    return ops.cast(mean, x.dtype)


def spread(coefficient: Any, x: Any, axis: int) -> Any:
    """A coefficient of each example, or of each position, in the layout of `x`."""
    rank = len(x.shape)
    if len(coefficient.shape) < rank:
        return ops.expand_dims(coefficient, _positions(x, axis))
    return ops.moveaxis(coefficient, -1, axis) if axis % rank != rank - 1 else coefficient


def matrices(weight: Any) -> list:
    """The weight of each coefficient; weights are cheaper to take apart than their products."""
    return ops.unstack(ops.convert_to_tensor(weight))


def _positions(x: Any, axis: int) -> tuple[int, ...]:
    """The axes of time or space."""
    rank = len(x.shape)
    return tuple(i for i in range(1, rank) if i != axis % rank)

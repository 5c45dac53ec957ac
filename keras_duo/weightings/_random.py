"""RLW: weights drawn anew at each step."""

import math
from typing import Any

import numpy as np
from keras import ops

from keras_duo.weightings._gramian import like, wide


def random(draw: Any) -> Any:
    """Weights w = softmax(z), z drawn from the normal distribution at each step.

    A baseline: what another method gains over equal weights, it must gain over this one too.

    Args:
        draw: Random numbers in [0, 1), (tasks,); a matrix of them counts by its first row.

    Returns:
        Weights > 0 of sum 1, (tasks,).

    Source:
        Lin et al., Reasonable Effectiveness of Random Weighting, 2022, arXiv:2111.10603.

    Example:
        >>> import keras_duo
        >>> [float(w) for w in keras_duo.weightings.random([0.5, 0.5])]
        [0.5, 0.5]
    """
    uniform = wide(draw)
    uniform = uniform if len(uniform.shape) == 1 else uniform[0]
    inside = ops.clip(2.0 * uniform - 1.0, -1.0 + 1e-6, 1.0 - 1e-6)
    return like(ops.softmax(1.4142135623730951 * ops.erfinv(inside)), draw)


def hashed_draw(bits: Any, shape: tuple[int, ...]) -> Any:
    """Numbers in [0, 1) that look random, and are the same for the same unsigned integer `bits`.

    Keras' own generators keep a state, which a loss cannot have and a file does not hold.
    """
    places = _word(np.arange(1, math.prod(shape) + 1))
    mixed = ops.cast(bits, "uint32") * _word(0x9E3779B1) + places * _word(0x85EBCA77)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 0x27D4EB2F), (15, 0x165667B1)):
        mixed = ops.bitwise_xor(mixed, ops.right_shift(mixed, _word(shift))) * _word(factor)
    mixed = ops.right_shift(ops.bitwise_xor(mixed, ops.right_shift(mixed, _word(16))), _word(8))
    return ops.reshape(ops.cast(ops.cast(mixed, "int32"), "float32") / 2**24, shape)


def _word(value: Any) -> Any:
    return ops.convert_to_tensor(value, dtype="uint32")

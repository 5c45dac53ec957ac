"""Rotary positions: a query and a key meet at an angle that depends on their distance alone."""

from typing import Any

from keras import ops


def rotated(x: Any, position: Any, max_wavelength: float) -> Any:
    """Entries i and i + d/2 of each row of `x` (..., length, d), turned by an angle.

    The angle of row t is (position + t) * max_wavelength ** (-2 i / d).
    """
    length, half = ops.shape(x)[-2], x.shape[-1] // 2
    rows = ops.cast(position + ops.arange(length), "float32")
    turns = ops.power(max_wavelength, -ops.arange(half, dtype="float32") / half)
    # In float32: half precision has no exact numbers for positions of some thousand.
    angles = ops.expand_dims(rows, 1) * turns
    cosine, sine = (ops.cast(f(angles), x.dtype) for f in (ops.cos, ops.sin))
    first, second = ops.split(x, 2, axis=-1)
    return ops.concatenate(
        [first * cosine - second * sine, second * cosine + first * sine], axis=-1
    )

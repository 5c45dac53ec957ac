"""IMTL-G: equal progress along the gradient of every task."""

from typing import Any

from keras import ops

from keras_duo.weightings._gramian import (
    inverse_or_zero,
    invertible,
    like,
    norms_and_cosines,
)
from keras_duo.weightings._nonnegative import solve


def imtl_g(gramian: Any) -> Any:
    """Weights with <g_i, sum_j w_j g_j> / ||g_i|| the same for every task i.

    The weights are divided by sum_i |w_i|. The paper divides by sum_i w_i, which is the same while
    no weight is negative, and may otherwise be 0 or turn the direction round.

    Args:
        gramian: Products of the task gradients, (tasks, tasks).

    Returns:
        Weights of sum |w_i| = 1, some of them negative where gradients are nearly alike, (tasks,).

    Source:
        Liu et al., Towards Impartial Multi-task Learning, ICLR 2021.

    Example:
        >>> import keras_duo
        >>> weights = keras_duo.weightings.imtl_g([[18.0, -22.0], [-22.0, 38.0]])
        >>> [round(float(w), 4) for w in weights]
        [0.5923, 0.4077]
    """
    norms, cosines = norms_and_cosines(gramian)
    ones = ops.cast(norms > 0, norms.dtype)
    found = solve(invertible(cosines), ones) * inverse_or_zero(norms)
    total = ops.sum(ops.abs(found))
    return like(found * inverse_or_zero(total), gramian)

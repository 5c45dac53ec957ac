"""CAGrad: near the mean gradient, the one that serves the worst-served task best."""

from typing import Annotated, Any

from keras import ops

from keras_duo._products import exact_matmul
from keras_duo._validate import number, validated
from keras_duo.weightings._gramian import (
    inverse_or_zero,
    invertible,
    like,
    norms_and_cosines,
)
from keras_duo.weightings._nonnegative import least_nonnegative

NEWTON_STEPS = 12


@validated
def cagrad(gramian: Any, *, c: Annotated[float, number(at_least=0, below=1)] = 0.5) -> Any:
    """Weights of argmax_d min_i <g_i, d> subject to ||d - g_0|| <= c ||g_0||.

    g_0 is the mean gradient. Converges to a minimum of the mean loss for c < 1; c = 0 gives g_0.

    Args:
        gramian: Products of the task gradients, (tasks, tasks).
        c: How far the combined gradient may lie from the mean, relative to its length, in [0, 1).

    Returns:
        Weights, each at least 1 / tasks, (tasks,).

    Source:
        Liu et al., Conflict-Averse Gradient Descent for Multi-task Learning, 2021,
        arXiv:2110.14048.

    Example:
        >>> import keras_duo
        >>> weights = keras_duo.weightings.cagrad([[18.0, -22.0], [-22.0, 38.0]], c=0.5)
        >>> [round(float(w), 4) for w in weights]
        [0.7041, 0.5]
    """
    norms, cosines = norms_and_cosines(gramian)
    count = cosines.shape[0]
    matrix = invertible(cosines)
    inverse = inverse_or_zero(norms)
    slopes = exact_matmul(cosines, norms) / count  # <unit gradient i, g_0>
    length = ops.sqrt(ops.maximum(ops.sum(norms * slopes) / count, 0.0))
    radius = c * length

    # d = g_0 + sum_i y_i u_i, with the least y >= 0 for which every <g_i, d> reaches a level. Its
    # distance from g_0 is a convex, increasing function of the level, and Newton's method comes
    # down to the level of distance `radius` from any level above it.
    def nearest(level: Any) -> Any:
        wanted = ops.where(norms > 0, level * inverse - slopes, -1.0)
        return least_nonnegative(matrix, wanted[None, :])[0]

    def lower(_: Any, level: Any) -> Any:
        found = nearest(level)
        distance = ops.sqrt(ops.maximum(ops.sum(found * exact_matmul(matrix, found)), 0.0))
        # By the envelope theorem, distance * d distance / d level = sum_i y_i / norm_i.
        step = (distance - radius) * distance * inverse_or_zero(ops.sum(found * inverse))
        return level - ops.maximum(step, 0.0)

    reachable = ops.where(norms > 0, norms * (slopes + radius), float("inf"))
    highest = ops.min(reachable)
    highest = ops.where(ops.isfinite(highest), highest, 0.0)
    level = ops.fori_loop(0, NEWTON_STEPS, lower, highest)
    return like(1.0 / count + nearest(level) * inverse, gramian)

"""UPGrad: each gradient projected to where it conflicts with no other."""

from typing import Annotated, Any

from keras import ops

from keras_duo._validate import number, validated
from keras_duo.weightings._gramian import (
    identity_like,
    inverse_or_zero,
    invertible,
    like,
    norms_and_cosines,
    wide,
)
from keras_duo.weightings._nonnegative import least_nonnegative


@validated
def upgrad(gramian: Any, *, ridge: Annotated[float, number(at_least=0)] = 0.0) -> Any:
    """Weights with sum_i w_i g_i = mean_i P(g_i), P the projection to {d: <g_j, d> >= 0 for all j}.

    The combined gradient conflicts with no task, and is the mean gradient where none conflict.

    Args:
        gramian: Products of the task gradients, (tasks, tasks).
        ridge: Added to the diagonal of the Gramian over its trace. TorchJD adds 1e-4; the
            projection is exact with 0.

    Returns:
        Weights >= 0, each at least 1 / tasks, (tasks,).

    Source:
        Quinton and Rey, Jacobian Descent for Multi-Objective Optimization, 2024, arXiv:2406.16232.

    Example:
        >>> import keras_duo
        >>> weights = keras_duo.weightings.upgrad([[18.0, -22.0], [-22.0, 38.0]])
        >>> [round(float(w), 4) for w in weights]
        [1.1111, 0.7895]
    """
    if ridge:
        widened = wide(gramian)
        extra = ridge * ops.trace(widened)
        gramian_used = widened + extra * identity_like(widened)
    else:
        gramian_used = gramian
    norms, cosines = norms_and_cosines(gramian_used)
    # With y = v * norm_j / norm_i: the least nonnegative combination to add to unit gradient i.
    matrix = invertible(cosines)
    added = least_nonnegative(matrix, -cosines)
    mixed = norms[:, None] * added * inverse_or_zero(norms)[None, :]
    return like(1.0 / cosines.shape[0] + ops.mean(mixed, axis=0), gramian)

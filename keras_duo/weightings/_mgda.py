"""MGDA: the shortest gradient in the convex hull."""

from typing import Any

from keras import ops

from keras_duo.weightings._gramian import (
    inverse_or_zero,
    invertible,
    like,
    norms_and_cosines,
)
from keras_duo.weightings._nonnegative import least_nonnegative


def mgda(gramian: Any) -> Any:
    """Weights w = argmin ||sum_i w_i g_i||^2 over the simplex: multiple gradient descent.

    The combined gradient has the same product with the gradient of every task that has a weight,
    and a larger one with the others: no task gets worse. It is short where one gradient is short,
    so a task of small gradients is served first.

    Args:
        gramian: Products of the task gradients, (tasks, tasks).

    Returns:
        Weights >= 0 of sum 1, (tasks,).

    Source:
        Desideri, Multiple-gradient descent algorithm, 2012, doi:10.1016/j.crma.2012.03.014; Sener
        and Koltun, Multi-Task Learning as Multi-Objective Optimization, 2018, arXiv:1810.04650.

    Example:
        >>> import keras_duo
        >>> [round(float(w), 6) for w in keras_duo.weightings.mgda([[18.0, -22.0], [-22.0, 38.0]])]
        [0.6, 0.4]
    """
    norms, cosines = norms_and_cosines(gramian)
    # With y = w * norm and p = (smallest norm) / norm: min y^T C y with p^T y = 1, y >= 0. Its
    # solution is that of min 1/2 y^T (C + p p^T) y - p^T y, up to a factor.
    smallest = ops.min(norms)
    lengths = ops.where(
        smallest > 0, smallest * inverse_or_zero(norms), ops.cast(norms <= 0, norms.dtype)
    )
    matrix = invertible(cosines) + lengths[:, None] * lengths[None, :]
    found = least_nonnegative(matrix, lengths[None, :])[0] * lengths
    return like(found / ops.sum(found), gramian)

"""Weights inverse to the norms of the gradients."""

from typing import Any

from keras import ops

from keras_duo.weightings._gramian import inverse_or_zero, like, norms_and_cosines


def balanced(gramian: Any) -> Any:
    """Weights w_i proportional to 1 / ||g_i||: weighted gradients of equal length.

    Args:
        gramian: Products of the gradients, (tasks, tasks); only the norms are used.

    Returns:
        Weights >= 0 of sum 1, (tasks,): 0 for a gradient of 0, equal if all are 0.

    Source:
        GradNorm with alpha = 0, solved: Chen et al., 2018, arXiv:1711.02257.

    Example:
        >>> import keras_duo
        >>> weights = keras_duo.weightings.balanced([[9.0, 0.0], [0.0, 1.0]])
        >>> [float(w) for w in weights]
        [0.25, 0.75]
    """
    norms, _ = norms_and_cosines(gramian)
    # Of the smallest norm: the weights are at most 1, however far apart the norms are.
    smallest = ops.min(ops.where(norms > 0, norms, 1.0))
    shares = ops.where(ops.any(norms > 0), smallest * inverse_or_zero(norms), 1.0)
    return like(shares / ops.sum(shares), gramian)

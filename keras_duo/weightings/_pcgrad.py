"""PCGrad: each gradient loses what points against another one."""

from typing import Any

from keras import ops

from keras_duo.weightings._gramian import inverse_or_zero, like, norms_and_cosines, wide


def pcgrad(gramian: Any, draw: Any) -> Any:
    """Weights of sum_i g_i', g_i' being g_i less, in turn, its part along each g_j it opposes.

    The order of the others is drawn anew for each task and step. A task may still get worse where
    there are more than two.

    Args:
        gramian: Products of the task gradients, (tasks, tasks).
        draw: Random numbers in [0, 1), (tasks, tasks): row i orders the others for task i.

    Returns:
        Weights >= 1, of the sum of the gradients and not of their mean, (tasks,).

    Source:
        Yu et al., Gradient Surgery for Multi-Task Learning, 2020, arXiv:2001.06782.

    Example:
        >>> import keras_duo
        >>> weights = keras_duo.weightings.pcgrad([[18.0, -22.0], [-22.0, 38.0]], [[0, 1], [0, 1]])
        >>> [round(float(w), 4) for w in weights]
        [2.2222, 1.5789]
    """
    norms, cosines = norms_and_cosines(gramian)
    count = cosines.shape[0]
    order = ops.argsort(wide(draw), axis=-1)
    own = ops.eye(count, dtype=cosines.dtype)
    mixed = own
    for k in range(count):
        against = ops.one_hot(order[:, k], count, dtype=cosines.dtype)
        product = ops.sum(mixed * ops.take(cosines, order[:, k], axis=0), axis=-1)
        opposed = ops.logical_and(product < 0, ops.sum(against * own, axis=-1) == 0)
        mixed = mixed - ops.where(opposed, product, 0.0)[:, None] * against
    # Row i is in units of gradient i, and each unit gradient j is gradient j over its norm.
    weights = norms[:, None] * mixed * inverse_or_zero(norms)[None, :]
    weights = ops.where(own > 0, mixed, weights)
    return like(ops.sum(weights, axis=0), gramian)

"""Aligned-MTL: the gradients turned into ones that are orthogonal and of one length."""

from typing import Any

from keras import ops

from keras_duo._products import exact_matmul
from keras_duo.weightings._gramian import inverse_or_zero, like, wide


def aligned_mtl(gramian: Any) -> Any:
    """Weights w = sqrt(l) G^(-1/2) 1 / tasks, l the smallest eigenvalue of the Gramian G.

    The combined gradient is the mean of orthogonal gradients of one length, those of the linear
    system of gradients whose condition number is 1. Eigenvalues below rounding count as 0.

    Args:
        gramian: Products of the task gradients, (tasks, tasks).

    Returns:
        Weights, (tasks,). Their scale is that of the shortest principal component.

    Source:
        Senushkin et al., Independent Component Alignment for Multi-Task Learning, CVPR 2023,
        arXiv:2305.19000.

    Example:
        >>> import keras_duo
        >>> weights = keras_duo.weightings.aligned_mtl([[18.0, -22.0], [-22.0, 38.0]])
        >>> [round(float(w), 4) for w in weights]
        [0.5591, 0.4083]
    """
    matrix = wide(gramian)
    count = matrix.shape[0]
    matrix = matrix * inverse_or_zero(ops.max(ops.diagonal(matrix)))
    values, vectors = ops.linalg.eigh(matrix)
    kept = values > ops.max(values) * count * 1.2e-7  # the precision of a float32 Gramian
    shortest = ops.min(ops.where(kept, values, float("inf")))
    shortest = ops.where(ops.isfinite(shortest), shortest, 0.0)
    ratios = ops.sqrt(ops.where(kept, shortest * inverse_or_zero(values), 0.0))
    mean = ops.mean(vectors, axis=0)  # of the rows of V^T, each over the tasks
    return like(exact_matmul(vectors, ratios * mean), gramian)

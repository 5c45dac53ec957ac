"""Uncertainty weighting: one learned variance for each task."""

from typing import Any

from keras import ops

from keras_duo.weightings._gramian import like


def uncertainty(losses: Any, log_variances: Any) -> Any:
    """Weights w = softmax(-s), where s, logarithms of variances, are learned with the model.

    `uncertainty_objective` is what they minimise. The paper weights by exp(-s), of which these are
    the shares.

    Args:
        losses: Losses of this step, (tasks,); only their number is used.
        log_variances: s, (tasks,).

    Returns:
        Weights > 0 of sum 1, (tasks,).

    Source:
        Kendall et al., Multi-Task Learning Using Uncertainty, 2018, arXiv:1705.07115.

    Example:
        >>> import keras_duo
        >>> [float(w) for w in keras_duo.weightings.uncertainty([0.1, 7.0], [0.0, 0.0])]
        [0.5, 0.5]
    """
    return like(ops.softmax(-ops.convert_to_tensor(log_variances)), losses)


def uncertainty_objective(losses: Any, log_variances: Any) -> Any:
    """The sum_i exp(-s_i) L_i + s_i / 2, in which the losses are constants.

    Its minimum, exp(-s_i) = 1 / (2 L_i), is inverse weighting; s follows as fast as its optimizer
    lets it.

    Args:
        losses: Losses of this step, (tasks,).
        log_variances: s, (tasks,).

    Returns:
        A scalar.

    Source:
        Kendall et al., Multi-Task Learning Using Uncertainty, 2018, arXiv:1705.07115.

    Example:
        >>> import keras_duo
        >>> float(keras_duo.weightings.uncertainty_objective([1.0, 2.0], [0.0, 0.0]))
        3.0
    """
    s = ops.convert_to_tensor(log_variances)
    constants = ops.stop_gradient(ops.convert_to_tensor(losses))
    return ops.sum(ops.exp(-s) * constants + 0.5 * s)

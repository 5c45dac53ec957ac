"""Weights inverse to the losses."""

from typing import Annotated, Any

from keras import ops

from keras_duo._validate import number_or_sequence, validated
from keras_duo.weightings._gramian import like, wide


@validated
def inverse(losses: Any, *, minimum: Annotated[Any, number_or_sequence()] = 0.0) -> Any:
    """Weights w_i proportional to 1 / (L_i - minimum_i): each task falls at the same relative rate.

    The gradient is that of the sum of log(L_i - minimum_i), up to a factor, so the scale of a loss
    does not matter.

    Args:
        losses: Losses of this step, (tasks,).
        minimum: The least value that a loss can have, one for all or one for each.

    Returns:
        Weights of sum 1, (tasks,); NaN if a loss is below its minimum, equal if all are at it.

    Source:
        Chennupati et al., MultiNet++, 2019, arXiv:1904.08492 (the geometric loss strategy).

    Example:
        >>> import keras_duo
        >>> [round(float(w), 6) for w in keras_duo.weightings.inverse([1.0, 3.0])]
        [0.75, 0.25]
    """
    above = wide(losses) - wide(minimum)
    scaled = above / ops.maximum(ops.max(above), 1e-30)
    # Below its minimum there is no weight, and a NaN that everyone sees is better than a wrong one.
    inverses = 1.0 / ops.where(above < 0, float("nan"), ops.maximum(scaled, 1e-30))
    return like(inverses / ops.sum(inverses), losses)

"""Weights that stay as given."""

from typing import Annotated, Any

from keras import ops

from keras_duo._validate import number_or_sequence, optional, validated
from keras_duo.weightings._gramian import like, wide


@validated
def fixed(
    losses: Any, *, weights: Annotated[Any, optional(number_or_sequence(at_least=0))] = None
) -> Any:
    """Weights w, divided by its sum; equal weights if None.

    Args:
        losses: Losses of this step, (tasks,).
        weights: One number >= 0 for each task, not all 0.

    Returns:
        Weights of sum 1, (tasks,).

    Raises:
        ValueError: If there is not one weight for each task, or all are 0.

    Source:
        Xin et al., Do Current Multi-Task Optimization Methods in Deep Learning Even Help?, 2022,
        arXiv:2209.11379: tuned fixed weights are hard to beat.

    Example:
        >>> import keras_duo
        >>> [float(w) for w in keras_duo.weightings.fixed([0.1, 7.0], weights=[3, 1])]
        [0.75, 0.25]
    """
    values = wide(losses)
    count = values.shape[0]
    given = (1.0,) * count if weights is None else weights
    if not isinstance(given, tuple) or len(given) != count or not any(given):
        raise ValueError(
            f"`weights` must hold one number >= 0 for each of {count} tasks, not all 0. "
            f"Received: weights={weights!r}"
        )
    total = sum(given)
    return like(ops.ones_like(values) * wide([weight / total for weight in given]), losses)

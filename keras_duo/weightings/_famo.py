"""FAMO: equal rates of decrease, from losses alone."""

from typing import Annotated, Any

import numpy as np
from keras import ops

from keras_duo._validate import number, number_or_sequence, validated
from keras_duo.weightings._gramian import like, wide


def famo_start(tasks: int) -> dict[str, np.ndarray]:
    """Equal weights, and no losses seen."""
    names = ("logits", "momentum", "velocity", "previous")
    state = {name: np.zeros(tasks, "float32") for name in names}
    return {**state, "steps": np.zeros((), "float32")}


@validated
def famo(
    losses: Any,
    state: dict[str, Any],
    *,
    minimum: Annotated[Any, number_or_sequence()] = 0.0,
    learning_rate: Annotated[float, number(above=0)] = 0.025,
    decay: Annotated[float, number(at_least=0)] = 0.001,
) -> tuple[Any, dict[str, Any]]:
    """Weights proportional to z_i / (L_i - minimum_i), z a softmax that follows the rates.

    The logit of a task falls where the logarithm of its loss fell by more than that of the others
    in the step before, by Adam with L2 decay. The paper takes the losses of the same batch after
    the step, a second forward pass; here they are those of the next batch, which cost nothing.

    Args:
        losses: Losses of this step, (tasks,).
        state: What `famo` returned at the step before, or `famo_start(tasks)`.
        minimum: The least value that a loss can have, one for all or one for each.
        learning_rate: Of the logits.
        decay: Pulls the logits to equal ones.

    Returns:
        Weights > 0 of sum 1, (tasks,), and the new state; NaN if a loss is below its minimum.

    Source:
        Liu et al., FAMO: Fast Adaptive Multitask Optimization, 2023, arXiv:2306.03792.

    Example:
        >>> import keras_duo
        >>> state = keras_duo.weightings.famo_start(2)
        >>> weights, state = keras_duo.weightings.famo([1.0, 1.0], state)
        >>> weights, state = keras_duo.weightings.famo([0.5, 1.0], state)
        >>> weights, state = keras_duo.weightings.famo([1.0, 1.0], state)
        >>> bool(state["logits"][0] > state["logits"][1])
        True
    """
    above = wide(losses) - wide(minimum)
    logarithm = ops.log(ops.where(above < 0, float("nan"), ops.maximum(above, 1e-30)))
    steps, logits = wide(state["steps"]), wide(state["logits"])

    fall = ops.where(steps > 0, wide(state["previous"]) - logarithm, 0.0)
    shares = ops.softmax(logits)
    slope = shares * (fall - ops.sum(shares * fall)) + decay * logits
    momentum = 0.9 * wide(state["momentum"]) + 0.1 * slope
    velocity = 0.999 * wide(state["velocity"]) + 0.001 * ops.square(slope)
    # Of the first loss there is no fall: that step does not count in Adam's correction.
    count = ops.maximum(steps, 1.0)
    mean = momentum / (1.0 - ops.power(wide(0.9), count))
    spread = ops.sqrt(velocity / (1.0 - ops.power(wide(0.999), count)))
    logits = logits - learning_rate * mean / (spread + 1e-8)

    weights = ops.softmax(logits - ops.stop_gradient(logarithm))
    new = {
        "logits": logits,
        "momentum": momentum,
        "velocity": velocity,
        "previous": logarithm,
        "steps": steps + 1.0,
    }
    return like(weights, losses), {name: like(value, losses) for name, value in new.items()}

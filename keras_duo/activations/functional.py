"""The activations as pure functions of the input and of their parameters."""

from collections.abc import Callable
from typing import Any

from keras import ops


def learnable_activation(x: Any, scale: Any, shift: Any, activation: Callable = ops.relu) -> Any:
    """Scale * activation(x) + shift, elementwise; `scale` and `shift` broadcast against `x`.

    Example:
        >>> from keras_duo.activations import learnable_activation
        >>> [float(v) for v in learnable_activation([-1.0, 2.0], 0.5, 1.0)]
        [1.0, 2.0]
    """
    return scale * activation(ops.convert_to_tensor(x)) + shift

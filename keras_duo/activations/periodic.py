"""Snake: a line with a learned ripple, for signals that repeat."""

from typing import Any

from keras_duo._register import register
from keras_duo.activations._parametric import ParametricActivation
from keras_duo.activations.functional import snake


@register
class Snake(ParametricActivation):
    """x + sin(a x)^2 / a, with the frequency a learned; it starts as x + sin(x)^2.

    It never falls, and carries a period beyond the training data, which relu and tanh networks do
    not. a -> 0 is the line x, and a may pass through 0: value and gradients are continuous.

    Args:
        frequency_initializer: Initial a: a number, or any Keras initializer. The authors advise 5
            to 50 for data that are known to repeat.
        axis: None for one a; an axis other than the batch axis for one for each of its entries. A
            per-channel activation as `activation=`: see `LearnableActivation`.
        frequency_regularizer: Penalty on a, added to the loss of the model.
        frequency_constraint: Projection of a after each update.
        **kwargs: `name`, `dtype`, `trainable`.

    Input shape: any; with `axis`, rank 2 or more and a known size on that axis.
    Output shape: that of the input. A mask is passed on.

    Raises:
        ValueError: If `axis` is the batch axis, or its size is unknown.

    Partner: `keras.losses.MeanSquaredError` for signals and time series; a hidden activation.

    Source:
        Ziyin, Hartwig and Ueda, Neural Networks Fail to Learn Periodic Functions and How to Fix
        It, 2020, arXiv:2006.08195.

    Example:
        >>> import keras, keras_duo
        >>> layer = keras.layers.Dense(64, activation=keras_duo.Snake(10.0))
        >>> model = keras.Sequential([keras.Input((1,)), layer, keras.layers.Dense(1)])
        >>> model.compile("adam", loss="mse")
    """

    def __init__(
        self,
        frequency_initializer: Any = 1.0,
        axis: int | None = None,
        frequency_regularizer: Any = None,
        frequency_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(axis, **kwargs)
        self.add_parameter(
            "frequency", frequency_initializer, frequency_regularizer, frequency_constraint
        )

    def call(self, inputs: Any) -> Any:
        """Inputs + sin(a * inputs)^2 / a."""
        return snake(inputs, *self.parameters_for(inputs))

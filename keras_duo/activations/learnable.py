"""LearnableActivation: any activation with a learned scale and shift."""

from collections.abc import Callable
from typing import Any

import keras

from keras_duo._register import register
from keras_duo._serialize import activation_from_config, resolve_activation
from keras_duo._validate import may_be_equal
from keras_duo.activations._fused import fused
from keras_duo.activations._parametric import ParametricActivation
from keras_duo.activations.functional import learnable_activation


@register
class LearnableActivation(ParametricActivation):
    """a * f(x) + b, with f a fixed activation and a and b learned.

    With `axis=None` there is one a and one b. They exist from the constructor on, so the layer can
    be the `activation=` of Dense, Conv or LSTM: its weights are in `trainable_variables` before the
    first step. With `axis=-1` there is one pair for each channel, made when the layer is built. As
    a layer of its own that is when the model is; as `activation=` it is at the first call, which
    `fit` and `train_on_batch` make in time. Listing the weights before warns: call the model once
    on a batch, or build the activation, `activation.build((None, channels))`.

    Half-precision policies compute f(x) in half precision, and keep and apply a and b in float32.

    Args:
        activation: f: a name from `keras.activations`, a function, or a layer.
        axis: None for one a and one b; an axis other than the batch axis for one pair for each of
            its entries.
        scale_initializer: Initial a; "ones" starts as f itself.
        shift_initializer: Initial b; "zeros" starts as f itself.
        scale_regularizer: Penalty on a, added to the loss of the model.
        shift_regularizer: Penalty on b, added to the loss of the model.
        scale_constraint: Projection of a after each update.
        shift_constraint: Projection of b after each update.
        **kwargs: `name`, `dtype`, `trainable`.

    Input shape: any; with `axis`, rank 2 or more and a known size on that axis.
    Output shape: that of the input. A mask is passed on.

    Raises:
        ValueError: If `activation` is not one or changes the shape, as glu does, `axis` is the
            batch axis, or its size is unknown.

    Partner: any loss; a hidden activation, so the output layer keeps its own.

    Source:
        The per-channel affine map of batch normalization (Ioffe and Szegedy, 2015,
        arXiv:1502.03167, section 3) without the normalization, after f instead of before it.

    Example:
        >>> import keras, keras_duo
        >>> layer = keras.layers.Dense(8, activation=keras_duo.LearnableActivation("gelu"))
        >>> model = keras.Sequential([keras.Input((4,)), layer, keras.layers.Dense(1)])
        >>> len(model.trainable_variables)
        6
    """

    def __init__(
        self,
        activation: str | Callable = "relu",
        axis: int | None = None,
        scale_initializer: Any = "ones",
        shift_initializer: Any = "zeros",
        scale_regularizer: Any = None,
        shift_regularizer: Any = None,
        scale_constraint: Any = None,
        shift_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(axis, **kwargs)
        self.activation = resolve_activation(activation)
        self.add_parameter("scale", scale_initializer, scale_regularizer, scale_constraint)
        self.add_parameter("shift", shift_initializer, shift_regularizer, shift_constraint)
        if isinstance(self.activation, keras.layers.Layer):
            self.built = False

    def build(self, input_shape: tuple) -> None:
        """Create one a and one b for each channel, where `axis` names a channel axis."""
        super().build(input_shape)
        if isinstance(self.activation, keras.layers.Layer) and not self.activation.built:
            self.activation.build(input_shape)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """A * f(inputs) + b."""
        function = self._activated
        is_layer = isinstance(self.activation, keras.layers.Layer)
        if is_layer or not getattr(self.activation, "__module__", "").startswith("keras."):
            # It may hold variables, or draw at random: it stays outside of what is fused.
            inputs, function = function(inputs), keras.activations.linear

        def scaled_and_shifted(x: Any, scale: Any, shift: Any) -> Any:
            return learnable_activation(x, scale, shift, function)

        return fused(scaled_and_shifted, training)(inputs, *self.parameters_for(inputs))

    def _activated(self, x: Any) -> Any:
        y = self.activation(x)
        if not may_be_equal(x.shape, y.shape):
            raise ValueError(
                "`activation` must give an output of the shape of its input. Received: "
                f"activation={self.activation!r}, which makes {tuple(y.shape)} of {tuple(x.shape)}"
            )
        return y

    def get_config(self) -> dict[str, Any]:
        """Every argument of the constructor."""
        return {
            **super().get_config(),
            "activation": keras.activations.serialize(self.activation),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "LearnableActivation":
        """Rebuild the layer; the activation must be Keras' own or a registered one."""
        activation = activation_from_config(config.get("activation", "relu"))
        return cls(**{**config, "activation": activation})

"""PositionalEmbedding: a vector for each position, added to the inputs."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_duo._register import register
from keras_duo._validate import integer

_LENGTH = integer(at_least=1)


@register
class PositionalEmbedding(keras.layers.Layer):
    """x_t + P_t, one learned vector P_t for each position t.

    With `initializer="sinusoidal"` P starts as sines and cosines of falling frequency, and stays
    so with `trainable=False`. A mask is passed on.

    Args:
        max_length: Number of positions that there are vectors for.
        initializer: Initial P: "sinusoidal", or what `keras.initializers.get` takes.
        regularizer: Penalty on P, added to the loss of the model.
        **kwargs: `activity_regularizer`, `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: (batch, length, features).
        position: That of the first input, for inputs that come in parts, as with a cache of
            `TransformerBlock`.

    Input shape: (batch, length, features), with a known number of features.
    Output shape: that of the input.

    Raises:
        ValueError: If an argument is out of range, the number of features is not known, or the
            inputs are longer than `max_length`. A length or position that is known only when the
            step runs gives an error or NaN then, by backend.

    Partner: `TransformerBlock`, whose `rotary` makes this layer unnecessary.

    Source:
        Gehring et al., Convolutional Sequence to Sequence Learning, 2017, arXiv:1705.03122.
        Sinusoidal: Vaswani et al., 2017, arXiv:1706.03762, section 3.5.

    Example:
        >>> import numpy as np, keras_duo
        >>> layer = keras_duo.PositionalEmbedding(64, initializer="sinusoidal", trainable=False)
        >>> layer(np.ones((2, 5, 32))).shape
        TensorShape([2, 5, 32])
    """

    def __init__(
        self,
        max_length: int,
        initializer: Any = "uniform",
        regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.max_length = _LENGTH("max_length", max_length)
        self.initializer = (
            initializer if initializer == "sinusoidal" else keras.initializers.get(initializer)
        )
        self.regularizer = keras.regularizers.get(regularizer)

    def build(self, input_shape: tuple) -> None:
        """Create P."""
        if len(input_shape) != 3 or input_shape[-1] is None:
            raise ValueError(
                "`inputs` must have the shape (batch, length, features), with a known number of "
                f"features. Received: input_shape={tuple(input_shape)}"
            )
        self.embeddings = self.add_weight(
            shape=(self.max_length, input_shape[-1]),
            name="embeddings",
            initializer=sinusoids if self.initializer == "sinusoidal" else self.initializer,
            regularizer=self.regularizer,
        )
        self.input_spec = keras.layers.InputSpec(ndim=3, axes={-1: input_shape[-1]})

    def call(self, inputs: Any, position: Any = 0) -> Any:
        """Inputs + P[position : position + length]."""
        length = inputs.shape[1]
        known = isinstance(position, int)
        if (known and position < 0) or (position if known else 0) + (length or 0) > self.max_length:
            raise ValueError(
                "`max_length` must reach to the end of the inputs. Received: "
                f"max_length={self.max_length}, position={position}, "
                f"inputs.shape={tuple(inputs.shape)}"
            )
        if known and length is not None:
            return inputs + self.embeddings[position : position + length]
        # Looked up one by one: a slice past the end would be moved or cut without a word.
        rows = position + ops.arange(ops.shape(inputs)[1])
        return inputs + ops.take(self.embeddings, rows, axis=0)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """The shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Every argument of the constructor."""
        return {
            **super().get_config(),
            "max_length": self.max_length,
            "initializer": self.initializer
            if self.initializer == "sinusoidal"
            else keras.initializers.serialize(self.initializer),
            "regularizer": keras.regularizers.serialize(self.regularizer),
        }


def sinusoids(shape: tuple, dtype: Any = None) -> Any:
    """Row t holds sin(t w_i) and then cos(t w_i), w_i = 10000 ** (-i / half of the features)."""
    rows, features = shape
    half = (features + 1) // 2
    angles = np.arange(rows)[:, None] * 10_000.0 ** (-np.arange(half) / half)
    table = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)[:, :features]
    return ops.convert_to_tensor(table, dtype=dtype)

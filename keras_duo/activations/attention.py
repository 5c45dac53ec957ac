"""AttentionActivation: a relu whose threshold and slopes are set by attention over the input."""

from typing import Any

import keras
from keras import ops

from keras_duo._register import register
from keras_duo._validate import channel_count, integer
from keras_duo.activations._context import CONTEXT, matrices, pooled, spread
from keras_duo.activations._parametric import ParametricActivation


def attention_activation(
    x: Any, threshold: Any, slope: Any = 1.0, negative_slope: Any = 0.0
) -> Any:
    """Slope * (x - threshold) above the threshold, negative_slope * (x - threshold) below it.

    Elementwise; the coefficients broadcast against `x`.

    Example:
        >>> from keras_duo.activations import attention_activation
        >>> [float(v) for v in attention_activation([-1.0, 2.0], 0.5, 2.0, 0.1)]
        [-0.15000000596046448, 3.0]
    """
    above = ops.convert_to_tensor(x) - threshold
    return above * ops.where(above > 0, slope, negative_slope)


@register
class AttentionActivation(ParametricActivation):
    """A relu whose threshold and slopes each unit takes from an attention over the input.

    y = s * (x - t) above the threshold t, n * (x - t) below it. The input attends, as the query, to
    `slots` learned profiles in each of `heads` heads; a profile holds t, s and n for each channel.
    With c the context, one number for each channel, K the keys and T, S, N the values of the
    slots: p = softmax(c K), over the slots of each head, and

        t = p T,  s = 1 + p S,  n = p N.

    T, S and N start at zero, and the layer as relu. The keys get a gradient as soon as these have
    moved, which is after the first step.

    Each position (time step, pixel) attends with its own channels, so that the layer may stand in a
    causal model and needs no mask. `context="mean"` attends once for an example, with the mean over
    all positions that are not masked, and each position then sees all others.

    As `activation=` of Dense, Conv or LSTM the weights are made at the first call, which `fit` and
    `train_on_batch` make in time; a training loop of your own must call the model once before it
    reads `trainable_variables`. Keras hands no mask to an `activation=`, so with "mean" padding
    counts there.

    Args:
        heads: Number of independent attentions whose profiles are summed, >= 1.
        slots: Number of profiles in each head, >= 2.
        axis: The channel axis.
        context: "position" or "mean".
        key_initializer: Initial K.
        value_initializer: Initial T, S and N; "zeros" starts as relu.
        key_regularizer: Penalty on K, added to the loss of the model.
        value_regularizer: Penalty on T, S and N: it draws towards relu.
        key_constraint: Projection of K after each update.
        value_constraint: Projection of T, S and N after each update.
        **kwargs: `name`, `dtype`, `trainable`.

    Input shape: rank 2 or more, with a known size on `axis`.
    Output shape: that of the input. A mask is passed on.

    Raises:
        ValueError: If an argument is out of range, or the size of `axis` is unknown.

    Partner: any loss; a hidden activation, so the output layer keeps its own.

    Source:
        Chosen by measurement, docs/attention_activation.md. Coefficients from the input: Chen et
        al., Dynamic ReLU, 2020, arXiv:2003.10027. Attention over parameters: Chen et al., Dynamic
        Convolution, 2020, arXiv:1912.03458. Learned keys and values: Guo et al., Beyond
        Self-attention, 2021, arXiv:2105.02358. Learned thresholds: Zhao et al., Deep Residual
        Shrinkage Networks, 2020, doi:10.1109/TII.2019.2943898.

    Example:
        >>> import keras, keras_duo
        >>> layer = keras.layers.Dense(32, activation=keras_duo.AttentionActivation())
        >>> model = keras.Sequential([keras.Input((8,)), layer, keras.layers.Dense(1)])
        >>> model.count_params()
        2369
    """

    def __init__(
        self,
        heads: int = 4,
        slots: int = 4,
        axis: int = -1,
        context: str = "position",
        key_initializer: Any = "glorot_uniform",
        value_initializer: Any = "zeros",
        key_regularizer: Any = None,
        value_regularizer: Any = None,
        key_constraint: Any = None,
        value_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(integer()("axis", axis), **kwargs)
        self.heads = integer(at_least=1)("heads", heads)
        self.slots = integer(at_least=2)("slots", slots)
        self.context = CONTEXT("context", context)
        self.key_initializer = keras.initializers.get(key_initializer)
        self.value_initializer = keras.initializers.get(value_initializer)
        self.key_regularizer = keras.regularizers.get(key_regularizer)
        self.value_regularizer = keras.regularizers.get(value_regularizer)
        self.key_constraint = keras.constraints.get(key_constraint)
        self.value_constraint = keras.constraints.get(value_constraint)

    def build(self, input_shape: tuple) -> None:
        """Create the keys and the values of all slots."""
        channels = channel_count(self.axis, input_shape)
        self.key = self.add_weight(
            shape=(channels, self.heads * self.slots),
            name="key",
            initializer=self.key_initializer,
            regularizer=self.key_regularizer,
            constraint=self.key_constraint,
        )
        self.value = self.add_weight(
            shape=(3, self.heads * self.slots, channels),
            name="value",
            initializer=self.value_initializer,
            regularizer=self.value_regularizer,
            constraint=self.value_constraint,
        )

    def call(self, inputs: Any, mask: Any = None) -> Any:
        """The inputs less their thresholds, times the slope of their side."""
        scores = ops.matmul(pooled(inputs, self.axis, self.context, mask), self.key)
        sizes = ops.shape(scores)
        by_head = ops.reshape(scores, (*sizes[:-1], self.heads, self.slots))
        attention = ops.reshape(ops.softmax(by_head), sizes)
        threshold, slope, negative_slope = (
            spread(ops.matmul(attention, values), inputs, self.axis)
            for values in matrices(self.value)
        )
        return attention_activation(inputs, threshold, 1.0 + slope, negative_slope)

    def get_config(self) -> dict[str, Any]:
        """Every argument of the constructor."""
        return {
            **super().get_config(),
            "heads": self.heads,
            "slots": self.slots,
            "context": self.context,
            "key_initializer": keras.initializers.serialize(self.key_initializer),
            "value_initializer": keras.initializers.serialize(self.value_initializer),
            "key_regularizer": keras.regularizers.serialize(self.key_regularizer),
            "value_regularizer": keras.regularizers.serialize(self.value_regularizer),
            "key_constraint": keras.constraints.serialize(self.key_constraint),
            "value_constraint": keras.constraints.serialize(self.value_constraint),
        }

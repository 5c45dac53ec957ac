"""DynamicReLU: the largest of linear pieces that depend on the input."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_duo._register import register
from keras_duo._validate import channel_count, integer
from keras_duo.activations._context import CONTEXT, matrices, pooled, spread
from keras_duo.activations._parametric import ParametricActivation


def dynamic_relu(x: Any, slopes: Sequence, intercepts: Sequence) -> Any:
    """max_k(slopes[k] * x + intercepts[k]), elementwise; the coefficients broadcast against `x`.

    Example:
        >>> from keras_duo.activations import dynamic_relu
        >>> [float(v) for v in dynamic_relu([-1.0, 2.0], [1.0, -0.5], [0.0, 0.0])]
        [0.5, 2.0]
    """
    x = ops.convert_to_tensor(x)
    largest, *others = [a * x + b for a, b in zip(slopes, intercepts, strict=True)]
    for other in others:
        largest = ops.maximum(largest, other)
    return largest


@register
class DynamicReLU(ParametricActivation):
    """max_k(a_k(x) * x + b_k(x)), its slopes and intercepts computed from the input (DyReLU-B).

    The context c of an example, one number for each channel, passes a network with one hidden layer
    of channels / `reduction` units: t = 2 * sigmoid(relu(c W + w) V + v) - 1. With t come the
    coefficients of each channel, a_k = alpha_k + t and b_k = 0.5 * t, where alpha_1 = 1 and the
    other alpha_k = 0. V and v start at zero, and the layer as relu.

    `context="mean"` takes the mean over all positions (time steps, pixels) that are not masked, so
    each position sees all others: not for a causal model. With "position" each computes the
    coefficients from its own channels. For (batch, channels) both are the input itself.

    As `activation=` of Dense, Conv or LSTM the weights are made at the first call, which `fit` and
    `train_on_batch` make in time; a training loop of your own must call the model once before it
    reads `trainable_variables`. Keras hands no mask to an `activation=`: on padded sequences make
    it a layer of its own, or take `context="position"`.

    Args:
        reduction: Channels for each hidden unit, >= 1; there is at least one hidden unit.
        pieces: How many linear pieces the maximum is over, >= 2.
        axis: The channel axis.
        context: "mean" or "position".
        kernel_initializer: Initial W.
        bias_initializer: Initial w.
        coefficient_initializer: Initial V and v; "zeros" starts as relu.
        kernel_regularizer: Penalty on W and V, added to the loss of the model.
        bias_regularizer: Penalty on w and v, added to the loss of the model.
        kernel_constraint: Projection of W and V after each update.
        bias_constraint: Projection of w and v after each update.
        **kwargs: `name`, `dtype`, `trainable`.

    Input shape: rank 2 or more, with a known size on `axis`.
    Output shape: that of the input. A mask is passed on.

    Raises:
        ValueError: If an argument is out of range, or the size of `axis` is unknown.

    Partner: any loss; a hidden activation, so the output layer keeps its own.

    Source:
        Chen et al., Dynamic ReLU, 2020, arXiv:2003.10027, variant B with its lambda_a = 1 and
        lambda_b = 0.5; the zeros are ours.

    Example:
        >>> import keras, keras_duo
        >>> model = keras.Sequential([keras.Input((32,)), keras_duo.DynamicReLU(reduction=8)])
        >>> model.count_params()
        772
    """

    def __init__(
        self,
        reduction: int = 8,
        pieces: int = 2,
        axis: int = -1,
        context: str = "mean",
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        coefficient_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(integer()("axis", axis), **kwargs)
        self.reduction = integer(at_least=1)("reduction", reduction)
        self.pieces = integer(at_least=2)("pieces", pieces)
        self.context = CONTEXT("context", context)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.coefficient_initializer = keras.initializers.get(coefficient_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.bias_constraint = keras.constraints.get(bias_constraint)

    def build(self, input_shape: tuple) -> None:
        """Create W, w, V and v."""
        channels = channel_count(self.axis, input_shape)
        hidden = max(1, channels // self.reduction)
        outputs = 2 * self.pieces
        kernel = {"regularizer": self.kernel_regularizer, "constraint": self.kernel_constraint}
        bias = {"regularizer": self.bias_regularizer, "constraint": self.bias_constraint}
        last = self.coefficient_initializer
        self.hidden_kernel = self.add_weight(
            (channels, hidden), self.kernel_initializer, name="hidden_kernel", **kernel
        )
        self.hidden_bias = self.add_weight(
            (hidden,), self.bias_initializer, name="hidden_bias", **bias
        )
        self.coefficient_kernel = self.add_weight(
            (outputs, hidden, channels), last, name="coefficient_kernel", **kernel
        )
        self.coefficient_bias = self.add_weight(
            (outputs, channels), last, name="coefficient_bias", **bias
        )

    def call(self, inputs: Any, mask: Any = None) -> Any:
        """The largest of the pieces."""
        context = pooled(inputs, self.axis, self.context, mask)
        # `ops.add` and not `+`: it knows a bias, whose gradient TensorFlow sums faster.
        hidden = ops.relu(ops.add(ops.matmul(context, self.hidden_kernel), self.hidden_bias))
        # 2 * sigmoid(z) - 1 = tanh(z / 2), halved where it is smallest.
        hidden = 0.5 * hidden
        residuals = [
            spread(ops.tanh(ops.add(ops.matmul(hidden, kernel), 0.5 * bias)), inputs, self.axis)
            for kernel, bias in zip(
                matrices(self.coefficient_kernel), matrices(self.coefficient_bias), strict=True
            )
        ]
        slopes = [1.0 + residuals[0], *residuals[1 : self.pieces]]
        return dynamic_relu(inputs, slopes, [0.5 * b for b in residuals[self.pieces :]])

    def get_config(self) -> dict[str, Any]:
        """Every argument of the constructor."""
        return {
            **super().get_config(),
            "reduction": self.reduction,
            "pieces": self.pieces,
            "context": self.context,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "coefficient_initializer": keras.initializers.serialize(self.coefficient_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": keras.regularizers.serialize(self.bias_regularizer),
            "kernel_constraint": keras.constraints.serialize(self.kernel_constraint),
            "bias_constraint": keras.constraints.serialize(self.bias_constraint),
        }

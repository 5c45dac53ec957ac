"""Swish, Acon and MetaAcon: the input times a gate that the input itself opens."""

from typing import Any

from keras_duo._register import register
from keras_duo._validate import channel_count, integer
from keras_duo.activations._fused import fused
from keras_duo.activations._parametric import ParametricActivation
from keras_duo.activations.functional import acon, beta_of, swish


@register
class Swish(ParametricActivation):
    """x * sigmoid(beta * x), with beta learned; it starts as silu.

    beta moves it between x / 2 (beta = 0) and relu (a large beta). A negative beta mirrors it:
    Swish_(-beta)(x) = -Swish_beta(-x).

    Args:
        beta_initializer: Initial beta: a number, or any Keras initializer. 1 starts as silu, 1.702
            near gelu.
        axis: None for one beta; an axis other than the batch axis for one for each of its entries.
            A per-channel activation as `activation=`: see `LearnableActivation`.
        beta_regularizer: Penalty on beta, added to the loss of the model.
        beta_constraint: Projection of beta after each update.
        **kwargs: `name`, `dtype`, `trainable`.

    Input shape: any; with `axis`, rank 2 or more and a known size on that axis.
    Output shape: that of the input. A mask is passed on.

    Raises:
        ValueError: If `axis` is the batch axis, or its size is unknown.

    Partner: any loss; a hidden activation, so the output layer keeps its own.

    Source:
        Ramachandran, Zoph and Le, Searching for Activation Functions, 2017, arXiv:1710.05941.

    Example:
        >>> import keras, keras_duo
        >>> layer = keras.layers.Dense(8, activation=keras_duo.Swish())
        >>> model = keras.Sequential([keras.Input((4,)), layer, keras.layers.Dense(1)])
        >>> len(model.trainable_variables)
        5
    """

    def __init__(
        self,
        beta_initializer: Any = 1.0,
        axis: int | None = None,
        beta_regularizer: Any = None,
        beta_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(axis, **kwargs)
        self.add_parameter("beta", beta_initializer, beta_regularizer, beta_constraint)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Inputs * sigmoid(beta * inputs)."""
        return fused(swish, training)(inputs, *self.parameters_for(inputs))


@register
class Acon(ParametricActivation):
    """(p1 - p2) x * sigmoid(beta (p1 - p2) x) + p2 x, with p1, p2 and beta learned (ACON-C).

    A smooth max(p1 x, p2 x): beta says how sharp it is (0: the mean of both lines, so linear), p1
    and p2 are the slopes far to the right and to the left where beta (p1 - p2) > 0. It starts as
    silu.

    Args:
        axis: The channel axis, for one p1, p2 and beta for each channel; None for one of each. A
            per-channel activation as `activation=`: see `LearnableActivation`.
        p1_initializer: Initial p1: a number, or any Keras initializer.
        p2_initializer: Initial p2, likewise; with p1 = p2 it is a line, and beta does not learn.
        beta_initializer: Initial beta, likewise.
        p1_regularizer: Penalty on p1, added to the loss of the model.
        p2_regularizer: Penalty on p2, likewise.
        beta_regularizer: Penalty on beta, likewise.
        p1_constraint: Projection of p1 after each update.
        p2_constraint: Projection of p2 after each update.
        beta_constraint: Projection of beta after each update.
        **kwargs: `name`, `dtype`, `trainable`.

    Input shape: any; with `axis`, rank 2 or more and a known size on that axis.
    Output shape: that of the input. A mask is passed on.

    Raises:
        ValueError: If `axis` is the batch axis, or its size is unknown.

    Partner: any loss; a hidden activation, so the output layer keeps its own.

    Source:
        Ma et al., Activate or Not: Learning Customized Activation, 2020, arXiv:2009.04759, whose
        code starts from p1 and p2 drawn from N(0, 1); p1 = 1 and p2 = 0 are ours.

    Example:
        >>> import keras, keras_duo
        >>> model = keras.Sequential([keras.Input((32,)), keras_duo.Acon()])
        >>> model.count_params()
        96
    """

    def __init__(
        self,
        axis: int | None = -1,
        p1_initializer: Any = 1.0,
        p2_initializer: Any = 0.0,
        beta_initializer: Any = 1.0,
        p1_regularizer: Any = None,
        p2_regularizer: Any = None,
        beta_regularizer: Any = None,
        p1_constraint: Any = None,
        p2_constraint: Any = None,
        beta_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(axis, **kwargs)
        self.add_parameter("p1", p1_initializer, p1_regularizer, p1_constraint)
        self.add_parameter("p2", p2_initializer, p2_regularizer, p2_constraint)
        self.add_parameter("beta", beta_initializer, beta_regularizer, beta_constraint)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """A smooth maximum of p1 * inputs and p2 * inputs."""
        return fused(acon, training)(inputs, *self.parameters_for(inputs))


@register
class MetaAcon(ParametricActivation):
    """`Acon` with beta = sigmoid(mean(x) V W): each example decides how sharp each channel is.

    The mean is over all positions (time steps, pixels) that are not masked, so each position sees
    all others: not for a causal model. For (batch, channels) it is the input itself. V takes the
    channels to max(`reduction`, channels // `reduction`) numbers, W takes them back. W starts at
    zero, so beta = 1/2 and the layer is `Swish(0.5)`.

    Keras hands no mask to an `activation=`: on padded sequences make it a layer of its own.

    Args:
        axis: The channel axis. As `activation=`: see `LearnableActivation`.
        reduction: Channels for each number between V and W, >= 1.
        p1_initializer: Initial p1: a number, or any Keras initializer.
        p2_initializer: Initial p2, likewise.
        reduce_kernel_initializer: Initial V.
        expand_kernel_initializer: Initial W.
        p1_regularizer: Penalty on p1, added to the loss of the model.
        p2_regularizer: Penalty on p2, likewise.
        reduce_kernel_regularizer: Penalty on V, likewise.
        expand_kernel_regularizer: Penalty on W, likewise.
        p1_constraint: Projection of p1 after each update.
        p2_constraint: Projection of p2 after each update.
        reduce_kernel_constraint: Projection of V after each update.
        expand_kernel_constraint: Projection of W after each update.
        **kwargs: `name`, `dtype`, `trainable`.

    Input shape: rank 2 or more, with a known size on `axis`.
    Output shape: that of the input. A mask is passed on.

    Raises:
        ValueError: If an argument is out of range, or the size of `axis` is unknown.

    Partner: any loss; a hidden activation, so the output layer keeps its own.

    Source:
        Ma et al., Activate or Not: Learning Customized Activation, 2020, arXiv:2009.04759, section
        3.3 with its reduction of 16; the zeros in W are ours.

    Example:
        >>> import keras, keras_duo
        >>> model = keras.Sequential([keras.Input((28, 28, 64)), keras_duo.MetaAcon()])
        >>> model.count_params()
        2176
    """

    def __init__(
        self,
        axis: int = -1,
        reduction: int = 16,
        p1_initializer: Any = 1.0,
        p2_initializer: Any = 0.0,
        reduce_kernel_initializer: Any = "glorot_uniform",
        expand_kernel_initializer: Any = "zeros",
        p1_regularizer: Any = None,
        p2_regularizer: Any = None,
        reduce_kernel_regularizer: Any = None,
        expand_kernel_regularizer: Any = None,
        p1_constraint: Any = None,
        p2_constraint: Any = None,
        reduce_kernel_constraint: Any = None,
        expand_kernel_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(integer()("axis", axis), **kwargs)
        self.reduction = integer(at_least=1)("reduction", reduction)
        self.add_parameter("p1", p1_initializer, p1_regularizer, p1_constraint)
        self.add_parameter("p2", p2_initializer, p2_regularizer, p2_constraint)
        self.declare(
            "reduce_kernel",
            reduce_kernel_initializer,
            reduce_kernel_regularizer,
            reduce_kernel_constraint,
        )
        self.declare(
            "expand_kernel",
            expand_kernel_initializer,
            expand_kernel_regularizer,
            expand_kernel_constraint,
        )

    def build(self, input_shape: tuple) -> None:
        """Create p1, p2, V and W."""
        super().build(input_shape)
        channels = channel_count(self.axis, input_shape)
        hidden = max(self.reduction, channels // self.reduction)
        self.create("reduce_kernel", (channels, hidden))
        self.create("expand_kernel", (hidden, channels))

    def call(self, inputs: Any, mask: Any = None, training: bool | None = None) -> Any:
        """A smooth maximum of p1 * inputs and p2 * inputs, as sharp as the mean input says."""
        beta = beta_of(inputs, self.reduce_kernel, self.expand_kernel, self.axis, mask)
        return fused(acon, training)(inputs, *self.parameters_for(inputs), beta)

    def get_config(self) -> dict[str, Any]:
        """Every argument of the constructor."""
        return {**super().get_config(), "reduction": self.reduction}

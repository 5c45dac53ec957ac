"""QuantileHead: a linear output layer for several quantiles that cannot cross."""

import itertools
import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_duo._register import register
from keras_duo._validate import Rule, flag, number, number_or_sequence, optional

# Between quantiles closer than that the first steps are equal, and their logarithm is finite.
_SMALLEST_STEP = 1e-6


def _rising(value: Any) -> tuple[float, ...]:
    plain = number_or_sequence(above=0, below=1).convert(value)
    plain = plain if isinstance(plain, tuple) else (plain,)
    if any(low >= high for low, high in itertools.pairwise(plain)):
        raise ValueError
    return plain


def _count(value: Any) -> int:
    plain = number(at_least=1).convert(value)
    if plain != int(plain):
        raise ValueError
    return int(plain)


_QUANTILES = Rule("be numbers that rise strictly between 0 and 1", _rising)
_UNITS = optional(Rule("be a whole number >= 1", _count))
_SPREAD = number(above=0)


@register
class QuantileHead(keras.layers.Layer):
    """q_m = z_m, q_(i+1) = q_i + softplus(z_(i+1)), q_(i-1) = q_i - softplus(z_(i-1)); z = x W + b.

    q_m is the quantile nearest to 1/2, of two equally near the lower one. It is linear in the
    input; the others are steps outwards from it, none of them negative. So q_i <= q_(i+1) holds for
    all weights and inputs for which z is a number, in half precision too: the steps are summed in
    float32 or wider, one after the other, and rounding keeps their order.

    Before training and for an input of 0 the outputs are the quantiles of a normal distribution
    with mean 0 and standard deviation `initial_spread`. Scale the labels to about that spread, or
    set it to that of the labels.

    Args:
        quantiles: Which quantiles, in rising order and strictly between 0 and 1: a list, or one
            number. The same list belongs in the loss.
        units: None for one forecast; a number for so many forecasts (targets, or time steps ahead),
            each with all quantiles.
        initial_spread: Standard deviation that the initial bias stands for, > 0.
        use_bias: Whether there is a b. Without it each first step is softplus(0) = 0.69.
        kernel_initializer: Initial W.
        bias_initializer: Initial b; None: what `initial_spread` asks for.
        kernel_regularizer: Penalty on W, added to the loss of the model.
        bias_regularizer: Penalty on b, added to the loss of the model.
        kernel_constraint: Projection of W after each update.
        bias_constraint: Projection of b after each update.
        **kwargs: `activity_regularizer`, `name`, `dtype`, `trainable`.

    Input shape: (batch, ..., features), with a known number of features.
    Output shape: (batch, ..., quantiles), or (batch, ..., units, quantiles). A mask is passed on.

    Raises:
        ValueError: If `quantiles` do not rise strictly between 0 and 1, another argument is out of
            range, or the number of features is not known.

    Partner: `Quantile(quantiles)`; there is no activation to choose, the head is its own.

    Source:
        Quantiles as cumulative sums of non-negative steps: Gasthaus et al., Probabilistic
        Forecasting with Spline Quantile Function RNNs, 2019, PMLR 89, for the whole function.
        Pinball loss: Koenker and Bassett, Regression Quantiles, 1978, doi:10.2307/1913643.

    Example:
        >>> import keras, keras_duo
        >>> head = keras_duo.QuantileHead([0.1, 0.5, 0.9])
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "relu"), head])
        >>> model.compile("adam", loss=keras_duo.Quantile([0.1, 0.5, 0.9]))
        >>> model.output_shape
        (None, 3)
    """

    def __init__(
        self,
        quantiles: float | Sequence[float],
        units: int | None = None,
        initial_spread: float = 1.0,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = None,
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.quantiles = _QUANTILES("quantiles", quantiles)
        self.units = _UNITS("units", units)
        self.initial_spread = _SPREAD("initial_spread", initial_spread)
        self.use_bias = flag()("use_bias", use_bias)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.bias_constraint = keras.constraints.get(bias_constraint)

    def build(self, input_shape: tuple) -> None:
        """Create W and b."""
        if len(input_shape) < 2 or input_shape[-1] is None:
            raise ValueError(
                "`inputs` must have the shape (batch, ..., features), with a known number of "
                f"features. Received: input_shape={tuple(input_shape)}"
            )
        size = len(self.quantiles) * (self.units or 1)
        self.kernel = self.add_weight(
            shape=(input_shape[-1], size),
            name="kernel",
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                shape=(size,),
                name="bias",
                initializer=self.bias_initializer or self._normal_bias,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={-1: input_shape[-1]})

    def call(self, inputs: Any) -> Any:
        """The quantiles, in rising order on the last axis."""
        linear = ops.matmul(inputs, self.kernel)
        if self.bias is not None:
            linear = linear + self.bias
        if self.units is not None:
            sizes = (*ops.shape(linear)[:-1], self.units, len(self.quantiles))
            linear = ops.reshape(linear, sizes)
        wide = keras.backend.result_type(self.compute_dtype, "float32")
        return ops.cast(self._outwards(ops.cast(linear, wide)), self.compute_dtype)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """The mask of the input, which holds for all `units`."""
        if previous_mask is None or self.units is None:
            return previous_mask
        return ops.expand_dims(previous_mask, -1)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """The input shape with `units`, if given, and the quantiles in place of the features."""
        units = () if self.units is None else (self.units,)
        return (*input_shape[:-1], *units, len(self.quantiles))

    def get_config(self) -> dict[str, Any]:
        """Every argument of the constructor."""
        return {
            **super().get_config(),
            "quantiles": self.quantiles,
            "units": self.units,
            "initial_spread": self.initial_spread,
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": keras.regularizers.serialize(self.bias_regularizer),
            "kernel_constraint": keras.constraints.serialize(self.kernel_constraint),
            "bias_constraint": keras.constraints.serialize(self.bias_constraint),
        }

    @property
    def _middle(self) -> int:
        # Rounded, because 0.7 - 0.5 is a little less than 0.5 - 0.3.
        distances = [round(abs(quantile - 0.5), 9) for quantile in self.quantiles]
        return distances.index(min(distances))

    def _outwards(self, linear: Any) -> Any:
        middle, count = self._middle, len(self.quantiles)
        largest = float(np.finfo(keras.backend.standardize_dtype(linear.dtype)).max)
        # Finite steps, because an infinite centre less an infinite step is no number.
        steps = ops.minimum(ops.softplus(linear), largest)
        # One at a time: a + b >= a holds for each rounded sum, and not for the differently grouped
        # ones of a parallel cumulative sum.
        outputs = [linear[..., middle]]
        for i in range(middle + 1, count):
            outputs.append(outputs[-1] + steps[..., i])
        for i in reversed(range(middle)):
            outputs.insert(0, outputs[0] - steps[..., i])
        return ops.stack(outputs, axis=-1)

    def _normal_bias(self, shape: tuple, dtype: Any = None) -> Any:
        """The b for which the outputs at x = 0 are the quantiles of N(0, initial_spread)."""
        outputs = [self.initial_spread * NormalDist().inv_cdf(q) for q in self.quantiles]
        gaps = [high - low for low, high in itertools.pairwise(outputs)]
        steps = [_inverse_softplus(max(gap, _SMALLEST_STEP)) for gap in gaps]
        middle = self._middle
        bias = [*steps[:middle], outputs[middle], *steps[middle:]]
        return ops.convert_to_tensor(bias * (self.units or 1), dtype=dtype)


def _inverse_softplus(step: float) -> float:
    return step + math.log(-math.expm1(-step))

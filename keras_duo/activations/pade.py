"""Rational: the quotient of two learned polynomials, a safe Pade activation unit."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_duo._register import register
from keras_duo._validate import Rule
from keras_duo.activations._context import matrices
from keras_duo.activations._fused import fused
from keras_duo.activations._parametric import ParametricActivation
from keras_duo.activations.functional import quotient


@dataclass(frozen=True)
class Fit:
    """Coefficients, and the largest distance from the function that they approximate."""

    numerator: tuple[float, ...]
    denominator: tuple[float, ...]
    error: float


# The errors hold for -BOUND <= x <= BOUND.
BOUND = 5.0

# Made by benchmarks/rational_fit.py.
FITS = {
    "relu": Fit(
        (0.0212515076, 0.5, 1.67553558, 1.63634355, 0.559434676, 0.0601185189),
        (0.0, 3.2726871, 0.0, 0.120237038),
        0.0213,
    ),
    "leaky_relu": Fit(
        (0.0170012061, 0.6, 1.34042847, 1.96361226, 0.447547741, 0.0721422226),
        (0.0, 3.2726871, 0.0, 0.120237038),
        0.0171,
    ),
    "gelu": Fit(
        (-0.00240465312, 0.5, 0.414081854, 0.116369514, 0.0120474198, 0.000261094156),
        (0.0, 0.232739028, 0.0, 0.000522188312),
        0.00241,
    ),
    "silu": Fit(
        (2.54948446e-05, 0.499999995, 0.249904013, 0.0525756389, 0.00551016363, 0.000240355816),
        (0.0, 0.105151275, 0.0, 0.000480711766),
        2.56e-05,
    ),
    "tanh": Fit(
        (0.0, 0.999810159, 0.0, 0.101723164, 0.0, 0.00065494493),
        (0.0, 0.434504083, 0.0, 0.0126391905),
        4.30e-05,
    ),
    # Exact. The factor that cancels gives every coefficient a gradient of moderate size.
    "identity": Fit((0.0, 1.0, 0.0, 1.0, 0.0, 1.0), (0.0, 1.0, 0.0, 1.0), 0.0),
}


def _name_of_a_fit(value: Any) -> str:
    if not isinstance(value, str) or value not in FITS:
        raise ValueError
    return value


_APPROXIMATES = Rule(f"be one of {', '.join(FITS)}", _name_of_a_fit)


@register
class Rational(ParametricActivation):
    """(a0 + a1 u + ... + a5 u^5) / (1 + |b1 u + ... + b4 u^4|), u = x / 5, with a and b learned.

    The denominator is 1 or more whatever is learned, so there is no pole. It starts near the
    function that `approximates` names; for -5 <= x <= 5 the distance is at most

        relu 0.0213, leaky_relu 0.0171, gelu 0.00241, silu 2.56e-5, tanh 4.3e-5, identity 0.

    Outside it continues as a line of slope a5 / (5 b4), the same on both sides. No quotient of this
    degree can do better: for relu, gelu and silu the slope is 1/2 left and right. Normalize inputs
    that go far beyond 5. Computed in float32 under half-precision policies, and finite there for
    |x| up to 6e4.

    Powers of u and not of x, because the step of Adam that is right for a0 would move the numerator
    at x = 5 by 3,125 times as much through a5, and training would break out again and again.

    Args:
        approximates: "relu", "leaky_relu" (slope 0.2), "gelu" (the exact one), "silu", "tanh" or
            "identity".
        axis: None for one set of coefficients; an axis other than the batch axis for one for each
            of its entries. A per-channel activation as `activation=`: see `LearnableActivation`.
        numerator_initializer: Initial a, of shape (6,) or (6, channels); None: what `approximates`
            asks for.
        denominator_initializer: Initial b, of shape (4,) or (4, channels); None: likewise.
        numerator_regularizer: Penalty on a, added to the loss of the model.
        denominator_regularizer: Penalty on b, likewise.
        numerator_constraint: Projection of a after each update.
        denominator_constraint: Projection of b after each update.
        **kwargs: `name`, `dtype`, `trainable`.

    Input shape: any; with `axis`, rank 2 or more and a known size on that axis.
    Output shape: that of the input. A mask is passed on.

    Raises:
        ValueError: If `approximates` is no such name, `axis` is the batch axis, or its size is
            unknown.

    Partner: any loss; a hidden activation, so the output layer keeps its own.

    Source:
        Molina, Schramowski and Kersting, Pade Activation Units, 2019, arXiv:1907.06732, the safe
        form. Of the two in use, one absolute value around the sum was taken and not one around
        each term: in the fits b1 = b3 = 0, where |b1 x| has no slope and would never be learned.

    Example:
        >>> import keras, keras_duo
        >>> layer = keras.layers.Dense(8, activation=keras_duo.Rational("gelu"))
        >>> model = keras.Sequential([keras.Input((4,)), layer, keras.layers.Dense(1)])
        >>> len(model.trainable_variables)
        6
    """

    def __init__(
        self,
        approximates: str = "relu",
        axis: int | None = None,
        numerator_initializer: Any = None,
        denominator_initializer: Any = None,
        numerator_regularizer: Any = None,
        denominator_regularizer: Any = None,
        numerator_constraint: Any = None,
        denominator_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(axis, **kwargs)
        self.approximates = _APPROXIMATES("approximates", approximates)
        self.add_parameter(
            "numerator", numerator_initializer, numerator_regularizer, numerator_constraint, (6,)
        )
        self.add_parameter(
            "denominator",
            denominator_initializer,
            denominator_regularizer,
            denominator_constraint,
            (4,),
        )

    def initializer_for(self, name: str) -> Any:
        """What was given, or the coefficients of the fit for each channel."""
        given = super().initializer_for(name)
        if given is not None:
            return given
        coefficients = np.array(getattr(FITS[self.approximates], name))
        powers = np.arange(len(coefficients)) + (name == "denominator")
        coefficients = coefficients * BOUND**powers
        return keras.initializers.Constant(
            coefficients if self.axis is None else coefficients[:, None]
        )

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The quotient of the polynomials."""
        numerator, denominator = map(matrices, self.parameters_for(inputs))
        function = quotient(len(numerator), unit=BOUND)
        return fused(function, training)(inputs, *numerator, *denominator)

    def get_config(self) -> dict[str, Any]:
        """Every argument of the constructor."""
        return {**super().get_config(), "approximates": self.approximates}

"""Rational: its formula, its denominator, its fits, and what it does far out."""

import importlib.util
from pathlib import Path

import keras
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from scipy import special

import keras_duo as duo
from keras_duo.activations.pade import BOUND, FITS
from tests.activations.oracle import DTYPE, assert_close
from tests.backend import gradients, numpy, weight_gradients

NAMED = {name: getattr(keras.activations, name, None) for name in FITS} | {
    "identity": keras.activations.linear
}
X = (-1e4, -30.0, -1.5, -1e-3, 0.25, 3.0, 1e4)
COEFFICIENTS = (
    ((0.1, -0.5, 1.7, 1.6, -0.6, 0.06), (0.3, 3.3, -0.2, 0.12)),
    ((0.1, 0.5, 1.7, 1.6, 0.6, 0.06), (-1.0, 0.0, 0.5, 0.0)),  # the sum changes its sign
    ((0.0, 1.0, 0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, -0.5)),
)


def formula(x, *coefficients):
    top = sum(a * x**j for j, a in enumerate(coefficients[:6]))
    return top / (1 + abs(sum(b * x**k for k, b in enumerate(coefficients[6:], 1))))


@pytest.mark.parametrize(("numerator", "denominator"), COEFFICIENTS)
@pytest.mark.parametrize("x", X)
def test_it_is_the_formula(x, numerator, denominator):
    tensors = [ops.convert_to_tensor(v, dtype=DTYPE) for v in (x, numerator, denominator)]
    exact = tuple(mpmath.mpf(float(v)) for tensor in tensors for v in np.ravel(numpy(tensor)))
    with mpmath.workdps(60):
        expected = formula(*exact)
        slopes = [
            float(mpmath.diff(formula, exact, tuple(int(i == j) for j in range(11))))
            for i in range(11)
        ]
    scale = max(1, abs(float(expected)))
    assert_close(numpy(duo.rational(*tensors)), float(expected), scale)
    found = np.concatenate([np.ravel(g) for g in gradients(duo.rational, *tensors)])
    # Each sum cancels at most to the size of its largest term.
    for slope, expected in zip(found, slopes, strict=True):
        assert_close(slope, expected, max(abs(expected), 1e-2 * scale))


@settings(max_examples=60)
@given(st.floats(-1e4, 1e4, width=32), st.lists(st.floats(-5, 5, width=32), min_size=4, max_size=4))
def test_the_denominator_is_one_or_more(x, denominator):
    y = float(numpy(duo.rational(x, [1.0, 0.0, 0.0, 0.0, 0.0, 0.0], denominator)))
    assert 0 < y <= 1


@pytest.mark.parametrize("name", FITS)
class TestFits:
    def test_the_stated_error_holds_and_is_not_generous(self, name):
        fit = FITS[name]
        x = np.linspace(-BOUND, BOUND, 100_001)
        bottom = 1 + np.abs(np.polyval([*fit.denominator[::-1], 0.0], x))
        fitted = np.polyval(fit.numerator[::-1], x) / bottom
        error = np.abs(fitted - self.exact(name, x)).max()
        assert error <= max(fit.error, 1e-14)
        assert error >= 0.98 * fit.error

    def test_the_documentation_states_it(self, name):
        stated = f"{name} {FITS[name].error:g}".replace("2.56e-05", "2.56e-5")
        assert stated.replace("4.3e-05", "4.3e-5") in duo.Rational.__doc__

    @pytest.mark.parametrize("axis", [None, -1])
    def test_the_layer_starts_there(self, name, axis):
        x = np.linspace(-BOUND, BOUND, 1000, dtype="float32").reshape(250, 4)
        actual = numpy(duo.Rational(name, axis=axis)(x))
        assert np.abs(actual - numpy(NAMED[name](x))).max() <= FITS[name].error + 2e-6

    def test_every_coefficient_learns_from_the_start(self, name):
        layer = duo.Rational(name)
        x = ops.convert_to_tensor(np.linspace(0.5, 3, 20, dtype="float32"))
        weights = layer.numerator.value, layer.denominator.value
        _, top, bottom = gradients(duo.rational, x / BOUND, *weights)
        assert (top != 0).all()
        assert (bottom != 0).all()

    def test_it_continues_as_a_line(self, name):
        fit = FITS[name]
        slope = fit.numerator[5] / fit.denominator[3]
        for sign in (-1, 1):
            values = numpy(duo.Rational(name)(sign * np.array([1e3, 2e3], "float32")))
            np.testing.assert_allclose(np.diff(values), sign * slope * 1e3, rtol=2e-2)

    def exact(self, name, x):
        if name == "leaky_relu":
            return np.where(x > 0, x, 0.2 * x)
        return {
            "relu": lambda: np.maximum(x, 0),
            "gelu": lambda: x * special.ndtr(x),
            "silu": lambda: x / (1 + np.exp(-x)),
            "tanh": lambda: np.tanh(x),
            "identity": lambda: x,
        }[name]()


def test_the_script_makes_the_stored_coefficients():
    path = Path(duo.__file__).parents[1] / "benchmarks" / "rational_fit.py"
    spec = importlib.util.spec_from_file_location("rational_fit", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    numerator, denominator = script.fit(script.FUNCTIONS["relu"], BOUND)
    np.testing.assert_allclose(numerator, FITS["relu"].numerator, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(denominator, FITS["relu"].denominator, rtol=1e-4, atol=1e-6)


def test_a_denominator_of_zeros_is_left_in_training():
    x = ops.convert_to_tensor(np.array([1.0, 2.0], "float32"))
    top, bottom = np.eye(6, dtype="float32")[1], np.zeros(4, "float32")
    found = gradients(duo.rational, x, ops.convert_to_tensor(top), ops.convert_to_tensor(bottom))
    # d/db_k of x / (1 + |b_k x^k|) at b_k = +0 is -x^(k+1).
    np.testing.assert_allclose(found[2], [-5, -9, -17, -33], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_it_neither_overflows_nor_loses_its_gradient_far_out(dtype):
    layer = duo.Rational("relu")
    x = ops.cast(np.array([-6e4, -1e4, 1e4, 6e4]), dtype)
    np.testing.assert_allclose(numpy(layer(x)), 0.5 * numpy(x), rtol=1e-2)
    np.testing.assert_allclose(gradients(layer, x)[0], 0.5, rtol=1e-2)
    assert all(np.isfinite(slope).all() for slope in weight_gradients(layer, x, 1.0))


def test_each_channel_has_its_own():
    numerator = np.random.default_rng(0).normal(size=(6, 3)).astype("float32")
    denominator = np.random.default_rng(1).normal(size=(4, 3)).astype("float32")
    for axis, shape in ((-1, (5, 2, 3)), (1, (5, 3, 2))):
        layer = duo.Rational(axis=axis)
        x = np.random.default_rng(2).normal(size=shape).astype("float32")
        layer.build(shape)
        layer.set_weights([numerator, denominator])
        together = np.moveaxis(numpy(layer(x)), axis, -1)
        for channel in range(3):
            x_c = np.moveaxis(x, axis, -1)[..., channel]
            alone = duo.rational(x_c / BOUND, numerator[:, channel], denominator[:, channel])
            np.testing.assert_allclose(together[..., channel], numpy(alone), rtol=1e-5, atol=1e-6)


def test_it_can_start_from_given_coefficients():
    # 25 (x / 5)^2
    numerator = keras.initializers.Constant(np.array([0.0, 0.0, 25.0, 0.0, 0.0, 0.0]))
    layer = duo.Rational(numerator_initializer=numerator, denominator_initializer="zeros")
    np.testing.assert_allclose(numpy(layer(np.array([3.0], "float32"))), [9.0], rtol=1e-6)
    again = duo.Rational.from_config(layer.get_config())
    np.testing.assert_allclose(numpy(again(np.array([3.0], "float32"))), [9.0], rtol=1e-6)


def test_a_step_of_adam_moves_it_by_about_as_much_everywhere():
    """In powers of x it would move thousands of times as far at 5 as at 0, and training breaks."""
    layer = duo.Rational(axis=-1)
    x = ops.convert_to_tensor(np.linspace(-BOUND, BOUND, 200, dtype="float32")[:, None])
    before = numpy(layer(x))
    for weight in (layer.numerator, layer.denominator):
        weight.assign(weight + 1e-3)
    assert 1e-5 < np.abs(numpy(layer(x)) - before).max() < 5e-3

"""Snake against its formula, near and at a frequency of 0 too."""

import itertools

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

import keras_duo as duo
from tests.activations.oracle import DTYPE, assert_same_as_formula
from tests.backend import gradient, gradients, numpy


def formula(x, a):
    return x + (mpmath.sin(a * x) ** 2 / a if a else 0)


def test_it_is_the_formula():
    frequencies = (-3.0, -0.25, 1e-4, 0.5, 1.0, 30.0)
    points = itertools.product((-20.0, -1.5, -1e-3, 0.0, 0.25, 3.0, 20.0), frequencies)
    assert_same_as_formula(duo.snake, formula, points)


@pytest.mark.parametrize("a", [0.0, -0.0, 1e-300, -1e-30, 1e-20, -1e-13, 1e-12, 1e-9])
def test_it_passes_smoothly_through_a_frequency_of_zero(a):
    x = np.array([-1e4, -2.0, 0.0, 1e-3, 5.0, 1e4]).astype(DTYPE)
    arguments = ops.convert_to_tensor(x), ops.convert_to_tensor(a, dtype=DTYPE)
    np.testing.assert_allclose(numpy(duo.snake(*arguments)), x, rtol=2e-5, atol=0)
    for x_i in x:
        slopes = gradients(duo.snake, ops.convert_to_tensor(x_i), arguments[1])
        np.testing.assert_allclose(slopes, [1, float(x_i) ** 2], rtol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_far_out_it_is_as_exact_as_its_input(dtype):
    """sin^2 of a rounded 1e4 is that of 1e4 rounded."""
    x = ops.cast(np.linspace(-1e4, 1e4, 1001), dtype)
    exact = numpy(x).astype("float64")
    expected = exact + np.sin(0.7 * exact) ** 2 / 0.7
    step = {"float32": 1e-6, "float16": 1e-3, "bfloat16": 8e-3}[dtype]
    np.testing.assert_allclose(numpy(duo.snake(x, 0.7)), expected, rtol=step, atol=2e-3)
    slope = numpy(ops.convert_to_tensor(gradient(lambda x: duo.snake(x, 0.7), x)))
    np.testing.assert_allclose(slope, 1 + np.sin(1.4 * exact), rtol=step, atol=5e-3 + 2 * step)


@settings(max_examples=40)
@given(st.floats(-50, 50, width=32), st.floats(0.125, 5, width=32), st.floats(0.125, 20, width=32))
def test_it_never_falls(x, step, a):
    low, high = (float(numpy(duo.snake(value, a))) for value in (x, x + step))
    assert low <= high + 1e-5


def test_it_repeats_on_top_of_a_line():
    layer = duo.Snake(2.0)
    x = np.linspace(-3, 3, 50, dtype="float32")
    period = np.pi / 2
    moved = numpy(layer((x + period).astype("float32"))) - period
    np.testing.assert_allclose(moved, numpy(layer(x)), atol=1e-5)


def test_a_frequency_of_zero_is_left_in_training():
    layer = duo.Snake(0.0)
    x = np.array([[1.0, 2.0]], "float32")
    np.testing.assert_array_equal(numpy(layer(x)), x)
    slope = gradients(duo.snake, ops.convert_to_tensor(x), layer.frequency.value)[1]
    np.testing.assert_allclose(slope, 5.0, rtol=1e-6)

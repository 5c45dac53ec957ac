"""Swish, Acon and MetaAcon against their formulas and published properties."""

import itertools

import keras
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

import keras_duo as duo
from tests.activations.oracle import DTYPE, assert_same_as_formula
from tests.backend import gradient, numpy

X = (-1e4, -30.0, -1.5, -1e-3, 0.0, 0.25, 3.0, 20.0, 1e4)
FINITE = st.floats(-1e3, 1e3, width=32)


def sigmoid(x):
    return 1 / (1 + mpmath.exp(-x))


class TestSwish:
    def test_it_is_the_formula(self):
        points = itertools.product(X, (-2.0, 0.0, 0.3, 1.0, 10.0))
        assert_same_as_formula(duo.swish, lambda x, beta: x * sigmoid(beta * x), points)

    @pytest.mark.parametrize("axis", [None, -1])
    def test_it_starts_as_silu(self, axis):
        x = np.linspace(-20, 20, 400, dtype="float32").reshape(100, 4)
        expected = numpy(keras.activations.silu(x))
        np.testing.assert_allclose(numpy(duo.Swish(axis=axis)(x)), expected, 1e-6, 1e-6)

    @settings(max_examples=40)
    @given(FINITE, st.floats(0, 100, width=32))
    def test_it_lies_between_half_the_line_and_relu(self, x, beta):
        y = float(numpy(duo.swish(x, beta)))
        low, high = sorted((x / 2, max(x, 0.0)))
        assert low - 1e-3 <= y + 0.2785 / max(beta, 1e-30)
        assert y <= high + 1e-3

    def test_its_limits(self):
        x = np.array([-3.0, -0.5, 0.0, 0.5, 3.0])
        np.testing.assert_allclose(numpy(duo.swish(x, 0.0)), x / 2)
        np.testing.assert_allclose(numpy(duo.swish(x, 1e6)), np.maximum(x, 0))


class TestAcon:
    def test_it_is_the_formula(self):
        points = itertools.product(
            (-1e4, -1.5, 0.0, 0.25, 1e4), (1.0, -0.5), (0.0, 0.25), (0.0, 1.0, -3.0)
        )

        def formula(x, p1, p2, beta):
            return (p1 - p2) * x * sigmoid(beta * (p1 - p2) * x) + p2 * x

        assert_same_as_formula(duo.acon, formula, points)

    @pytest.mark.parametrize("axis", [None, -1])
    def test_it_starts_as_silu(self, axis):
        x = np.linspace(-20, 20, 400, dtype="float32").reshape(100, 4)
        expected = numpy(keras.activations.silu(x))
        np.testing.assert_allclose(numpy(duo.Acon(axis=axis)(x)), expected, 1e-6, 1e-6)

    @settings(max_examples=40)
    @given(FINITE, st.floats(-2, 2, width=32), st.floats(-2, 2, width=32))
    def test_it_is_a_maximum_in_the_limit(self, x, p1, p2):
        y = float(numpy(duo.acon(x, p1, p2, 1e7)))
        np.testing.assert_allclose(y, max(p1 * x, p2 * x), rtol=1e-5, atol=1e-5 + 1e-6 * abs(x))

    @settings(max_examples=40)
    @given(FINITE, st.floats(-2, 2, width=32), st.floats(-2, 2, width=32))
    def test_the_two_lines_may_be_exchanged(self, x, p1, p2):
        first, second = (float(numpy(duo.acon(x, *pair, 0.7))) for pair in ((p1, p2), (p2, p1)))
        np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-5 * (1 + abs(x)))

    def test_the_bounds_of_its_slope_are_those_of_the_paper(self):
        """1.0998 p1 - 0.0998 p2 and 1.0998 p2 - 0.0998 p1, whatever beta is (section 3.2)."""
        x = np.linspace(-60, 60, 200_001).astype(DTYPE)
        for p1, p2, beta in ((1.2, -0.3, 1.0), (0.9, 0.25, 5.0)):
            slope = gradient(lambda x, p1=p1, p2=p2, beta=beta: duo.acon(x, p1, p2, beta), x)
            np.testing.assert_allclose(slope.max(), 1.0998 * p1 - 0.0998 * p2, atol=2e-4)
            np.testing.assert_allclose(slope.min(), 1.0998 * p2 - 0.0998 * p1, atol=2e-4)


class TestMetaAcon:
    def layer(self, channels, **arguments):
        """With weights that are not the initial ones."""
        layer = duo.MetaAcon(**arguments)
        axis = arguments.get("axis", -1)
        layer.build((None, 3, 4, channels) if axis == -1 else (None, channels, 3, 4))
        random = np.random.default_rng(0)
        layer.set_weights([random.normal(size=w.shape) for w in layer.get_weights()])
        return layer

    def test_it_is_the_formula_of_the_paper(self):
        layer = self.layer(5, reduction=2)
        p1, p2, first, second = layer.get_weights()
        assert first.shape == (5, 2)
        x = np.random.default_rng(1).normal(size=(2, 3, 4, 5)).astype("float32")
        logits = x.mean(axis=(1, 2)).astype("float64") @ first @ second
        beta = (1 / (1 + np.exp(-logits)))[:, None, None]
        gate = 1 / (1 + np.exp(-beta * (p1 - p2) * x))
        expected = (p1 - p2) * x * gate + p2 * x
        np.testing.assert_allclose(numpy(layer(x)), expected, rtol=1e-5, atol=1e-5)

    def test_it_starts_as_swish_with_half_of_beta(self):
        x = np.random.default_rng(1).normal(size=(2, 7, 32)).astype("float32")
        expected = numpy(duo.Swish(0.5)(x))
        np.testing.assert_allclose(numpy(duo.MetaAcon()(x)), expected, rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize(("channels", "hidden"), [(8, 16), (512, 32)])
    def test_the_bottleneck_is_that_of_the_authors(self, channels, hidden):
        layer = duo.MetaAcon()
        layer.build((None, channels))
        assert layer.reduce_kernel.shape == (channels, hidden)
        assert layer.expand_kernel.shape == (hidden, channels)

    def test_the_input_is_its_own_mean_where_there_are_no_positions(self):
        layer = self.layer(5)
        x = np.random.default_rng(1).normal(size=(3, 5)).astype("float32")
        alone = numpy(layer(x[:, None, None]))[:, 0, 0]
        np.testing.assert_allclose(numpy(layer(x)), alone, rtol=1e-5, atol=1e-6)

    def test_channels_first_is_the_same(self):
        last, first = self.layer(5), self.layer(5, axis=1)
        x = np.random.default_rng(1).normal(size=(2, 3, 4, 5)).astype("float32")
        moved = numpy(first(np.moveaxis(x, -1, 1)))
        np.testing.assert_allclose(np.moveaxis(moved, 1, -1), numpy(last(x)), rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("length", [0, 2])
    def test_padding_does_not_matter(self, length):
        layer = self.layer(5)
        x = np.random.default_rng(1).normal(size=(2, 6, 4, 5)).astype("float32")
        mask = np.arange(6)[None] < np.array([[length], [6]])
        other = np.where(mask[..., None, None], x, np.nan).astype("float32")
        before, after = (numpy(layer(data, mask=mask)) for data in (x, other))
        np.testing.assert_array_equal(before[mask], after[mask])
        expected = numpy(layer(x[:1, :length])) if length else before[:1, :0]
        np.testing.assert_allclose(before[:1, :length], expected, rtol=1e-5, atol=1e-6)

    def test_the_mask_of_a_model_reaches_it(self):
        x = np.random.default_rng(1).normal(size=(2, 6, 5)).astype("float32")
        x[:, 4:] = 0.0
        layer = self.layer(5)
        model = keras.Sequential([keras.Input((6, 5)), keras.layers.Masking(), layer])
        np.testing.assert_allclose(
            numpy(model(x))[:, :4], numpy(layer(x[:, :4])), rtol=1e-5, atol=1e-6
        )

    def test_a_long_sum_does_not_overflow_half_precision(self):
        layer = duo.MetaAcon(dtype="mixed_float16")
        x = ops.cast(np.full((1, 5000, 4), 100.0), "float16")
        np.testing.assert_allclose(numpy(layer(x)), 100.0)

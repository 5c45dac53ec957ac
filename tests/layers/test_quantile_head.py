"""QuantileHead: outputs that never cross, whatever the weights."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from scipy import stats

import keras_duo as duo
from tests.backend import compiled, gradient, numpy

LEVELS = [0.05, 0.1, 0.3, 0.5, 0.9, 0.95]


def rises(outputs):
    assert not np.isnan(outputs).any()
    return (outputs[..., 1:] >= outputs[..., :-1]).all()


class TestOrder:
    @pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
    @pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0, 1e3, 1e30])
    def test_no_weights_make_them_cross(self, policy, scale):
        x = np.random.default_rng(0).normal(size=(256, 4)).astype("float32")
        layer = duo.QuantileHead(LEVELS, dtype=policy)
        layer.build((None, 4))
        random = np.random.default_rng(1)
        # One sign a column: where half precision overflows, inf - inf inside the product of the
        # matrices is no matter of this layer.
        x = np.abs(x)
        sign = random.choice([-1.0, 1.0], len(LEVELS))
        layer.kernel.assign(scale * sign * random.uniform(size=(4, len(LEVELS))))
        layer.bias.assign(scale * sign * random.uniform(size=len(LEVELS)))
        for run in (layer, compiled(layer), compiled(layer, xla=True)):
            assert rises(numpy(run(ops.convert_to_tensor(x))))

    def test_a_hundred_close_quantiles_do_not_cross(self):
        """Steps below the rounding of a large centre."""
        levels = np.arange(1, 100) / 100
        layer = duo.QuantileHead(levels)
        layer.build((None, 1))
        random = np.random.default_rng(0)
        layer.kernel.assign(random.normal(size=(1, 99)))
        layer.bias.assign(np.where(levels == 0.5, 1e4, random.uniform(-12, -6, 99)))
        x = random.normal(size=(500, 1)).astype("float32")
        assert rises(numpy(compiled(layer, xla=True)(ops.convert_to_tensor(x))))

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.floats(-(2.0**120), 2.0**120, width=32), min_size=6, max_size=6))
    def test_any_bias(self, bias):
        layer = duo.QuantileHead(LEVELS)
        layer.build((None, 1))
        layer.bias.assign(bias)
        assert rises(numpy(layer(np.zeros((1, 1), "float32"))))


class TestValues:
    def test_it_is_the_formula(self):
        layer = duo.QuantileHead([0.1, 0.2, 0.5, 0.9], kernel_initializer="zeros")
        layer.build((None, 1))
        layer.bias.assign([0.3, -0.7, 2.0, 1.1])
        steps = np.log1p(np.exp([0.3, -0.7, 2.0, 1.1]))
        expected = [2 - steps[1] - steps[0], 2 - steps[1], 2, 2 + steps[3]]
        actual = numpy(layer(np.zeros((1, 1), "float32")))
        np.testing.assert_allclose(actual, [expected], rtol=1e-6)

    @pytest.mark.parametrize(
        ("levels", "middle"),
        [([0.1, 0.9], 0), ([0.3, 0.7], 0), ([0.1, 0.2, 0.45], 2), ([0.9, 0.99], 0), ([0.4], 0)],
    )
    def test_the_quantile_nearest_to_one_half_is_linear(self, levels, middle):
        layer = duo.QuantileHead(levels)
        x = np.array([[-50.0], [50.0]], "float32")
        outputs = numpy(layer(x)) - numpy(layer(np.zeros((1, 1), "float32")))
        np.testing.assert_allclose(outputs[0, middle], -outputs[1, middle], rtol=1e-5)
        others = np.delete(outputs, middle, axis=1)
        assert (np.abs(others[0] + others[1]) > 1e-3).all()

    @pytest.mark.parametrize("spread", [1e-3, 1.0, 40.0])
    def test_it_starts_as_a_normal_distribution(self, spread):
        layer = duo.QuantileHead(LEVELS, initial_spread=spread)
        outputs = numpy(layer(np.zeros((1, 3), "float32")))
        np.testing.assert_allclose(outputs[0], spread * stats.norm.ppf(LEVELS), rtol=1e-4)

    def test_each_unit_has_all_quantiles(self):
        layer = duo.QuantileHead([0.1, 0.5, 0.9], units=2)
        x = np.random.default_rng(0).normal(size=(5, 7, 4)).astype("float32")
        outputs = numpy(layer(x))
        assert outputs.shape == (5, 7, 2, 3) == layer.compute_output_shape((5, 7, 4))
        alone = duo.QuantileHead([0.1, 0.5, 0.9])
        alone.build((None, 4))
        for unit in range(2):
            columns = slice(3 * unit, 3 * unit + 3)
            alone.set_weights([layer.kernel[:, columns], layer.bias[columns]])
            np.testing.assert_allclose(numpy(alone(x)), outputs[:, :, unit], rtol=1e-5)
        again = duo.QuantileHead.from_config(layer.get_config())
        assert again.compute_output_shape((None, 4)) == (None, 2, 3)

    def test_a_mask_reaches_the_loss_for_all_units(self):
        levels = [0.1, 0.9]
        x = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("float32")
        x[:, 2:] = 0.0
        y = np.random.default_rng(1).normal(size=(2, 4, 5))
        for units, labels in ((None, y[..., 0]), (5, y)):
            head = duo.QuantileHead(levels, units=units)
            model = keras.Sequential([keras.Input((4, 3)), keras.layers.Masking(), head])
            expected = numpy(duo.Quantile(levels)(labels[:, :2], numpy(head(x[:, :2]))))
            actual = numpy(duo.Quantile(levels)(labels, model(x)))
            np.testing.assert_allclose(actual, expected, rtol=1e-5)

    def test_every_output_has_a_finite_gradient(self):
        layer = duo.QuantileHead(LEVELS)
        layer.build((None, 1))
        for bias in (-1e4, 0.0, 1e4):
            layer.bias.assign(np.full(6, bias))
            assert np.isfinite(gradient(layer, np.ones((1, 1), "float32"))).all()


class TestArguments:
    def test_an_unknown_number_of_features_is_an_error(self):
        for shape in ((None, None), (4,)):
            with pytest.raises(ValueError, match="`inputs` must have the shape"):
                duo.QuantileHead(LEVELS).build(shape)

    def test_falling_quantiles_are_an_error(self):
        with pytest.raises(ValueError, match="`quantiles` must be numbers that rise strictly"):
            duo.QuantileHead([0.9, 0.1])

    def test_regularizers_and_constraints_are_kept(self):
        layer = duo.QuantileHead(
            LEVELS,
            kernel_regularizer="l2",
            bias_regularizer="l1",
            kernel_constraint="max_norm",
            activity_regularizer="l2",
        )
        model = keras.Sequential([keras.Input((3,)), layer])
        model(np.ones((2, 3), "float32"))
        assert len(model.losses) == 3
        again = duo.QuantileHead.from_config(layer.get_config())
        assert again.get_config() == layer.get_config()

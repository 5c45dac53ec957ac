"""The pinball loss against its definition, scikit-learn, and the quantiles that it must find."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from scipy import stats
from sklearn.metrics import mean_pinball_loss

import keras_duo as duo
from keras_duo.losses import quantile_loss
from tests.backend import BACKEND, compiled, gradient, numpy

TAUS = (0.01, 0.3, 0.5, 0.9, 0.99)


def pinball(y, forecast, tau):
    return np.maximum(tau * (y - forecast), (tau - 1) * (y - forecast))


class TestAgainstTheDefinition:
    y = np.random.default_rng(0).normal(size=(64, 3))
    forecast = np.random.default_rng(1).normal(size=(64, 3))

    @pytest.mark.parametrize("tau", TAUS)
    def test_one_quantile(self, tau):
        actual = numpy(duo.Quantile(tau, reduction="none")(self.y, self.forecast))
        np.testing.assert_allclose(actual, pinball(self.y, self.forecast, tau).mean(-1), rtol=1e-5)
        reduced = numpy(duo.Quantile(tau)(self.y, self.forecast))
        np.testing.assert_allclose(
            reduced, mean_pinball_loss(self.y, self.forecast, alpha=tau), rtol=1e-5
        )

    def test_several_quantiles_of_one_label(self):
        y = self.y[:, 0]
        expected = np.mean(
            [mean_pinball_loss(y, self.forecast[:, i], alpha=TAUS[i]) for i in range(3)]
        )
        for labels in (y, y[:, None]):
            actual = numpy(duo.Quantile(TAUS[:3])(labels, self.forecast))
            np.testing.assert_allclose(actual, expected, rtol=1e-5)

    def test_a_perfect_forecast_is_worth_nothing_where_sizes_agree(self):
        """Three examples and three quantiles: broadcasting would score this 4 / 9."""
        y = np.array([1.0, 2.0, 3.0])
        forecast = np.repeat(y[:, None], 3, axis=1)
        assert numpy(duo.Quantile([0.1, 0.5, 0.9])(y, forecast)) == 0.0

    def test_a_target_axis_is_kept(self):
        """Two targets, three quantiles each."""
        y = np.random.default_rng(2).normal(size=(5, 2))
        forecast = np.random.default_rng(3).normal(size=(5, 2, 3))
        expected = np.mean([pinball(y, forecast[..., i], TAUS[i]) for i in range(3)], axis=0)
        actual = numpy(duo.Quantile(TAUS[:3], reduction="none")(y, forecast))
        assert actual.shape == (5, 2)
        np.testing.assert_allclose(actual, expected, rtol=1e-5)

    def test_one_quantile_in_a_list_is_one_output(self):
        y = self.y[:, :1]
        expected = numpy(duo.Quantile(0.9)(y, self.forecast[:, :1]))
        for labels in (y, y[:, 0]):
            actual = numpy(duo.Quantile([0.9])(labels, self.forecast[:, :1]))
            np.testing.assert_allclose(actual, expected)

    def test_the_slope_is_that_of_the_quantile(self):
        forecast = np.array([[-1.0], [0.0], [1.0]], "float32")
        slope = gradient(lambda p: quantile_loss(np.zeros((3, 1)), p, quantiles=0.9), forecast)
        np.testing.assert_allclose(slope[:, 0], [-0.9, 0.0, 0.1], rtol=1e-6)

    def test_large_half_precision_values_are_finite(self):
        for quantiles, labels in ((0.9, [[-6e4]]), ([0.9], [-6e4])):
            y_pred = ops.cast([[6e4]], "float16")
            loss = duo.Quantile(quantiles, dtype="float16")
            np.testing.assert_allclose(numpy(loss(np.array(labels), y_pred)), 12e3, rtol=1e-3)
            slope = gradient(lambda p, loss=loss, y=labels: loss(np.array(y), p), y_pred)
            np.testing.assert_allclose(slope, [[0.1]], rtol=1e-3)


class TestShapes:
    @pytest.mark.skipif(BACKEND != "tensorflow", reason="only TensorFlow has unknown sizes")
    def test_an_unknown_number_of_outputs_is_not_broadcast(self):
        import tensorflow as tf

        spec = [tf.TensorSpec([None]), tf.TensorSpec([None, None])]
        loss = tf.function(duo.Quantile([0.1, 0.9]), input_signature=spec)
        assert numpy(loss(np.ones(4, "float32"), np.ones((4, 2), "float32"))) == 0.0
        with pytest.raises(tf.errors.InvalidArgumentError):
            loss(np.ones(4, "float32"), np.ones((4, 1), "float32"))

    def test_the_error_names_the_quantiles(self):
        with pytest.raises(ValueError, match=r"strictly between 0 and 1\. Received: quant"):
            duo.Quantile([0.5, 1.2])
        with pytest.raises(ValueError, match="one output for each of the 2 quantiles"):
            duo.Quantile([0.5, 0.9])(np.ones(3), np.ones((3, 3)))


@pytest.mark.parametrize("tau", TAUS)
class TestSmoothing:
    error = np.concatenate([np.linspace(-3, 3, 61), [-1e30, -1e4, 1e4, 1e30]])[:, None]

    def test_against_the_definition(self, tau):
        expected = tau * self.error + np.logaddexp(0, -self.error / 0.5) * 0.5
        large = np.abs(self.error) > 100  # where the definition subtracts near-equal numbers
        expected = np.where(large, pinball(self.error, 0.0, tau), expected)
        actual = quantile_loss(
            self.error.astype("float32"), np.zeros((65, 1)), quantiles=tau, smoothing=0.5
        )
        np.testing.assert_allclose(numpy(actual), expected[:, 0], rtol=1e-5)

    def test_it_ends_in_the_pinball_loss(self, tau):
        plain = numpy(quantile_loss(self.error, np.zeros((65, 1)), quantiles=tau))
        for smoothing in (1e-2, 1e-6, 1e-20, 1e-35, 1e-300):
            smooth = quantile_loss(
                self.error, np.zeros((65, 1)), quantiles=tau, smoothing=smoothing
            )
            bound = smoothing * np.log(2) + 1e-6 * np.abs(plain)
            assert (np.abs(numpy(smooth) - plain) <= bound).all()

    def test_its_slope_runs_through_the_kink(self, tau):
        forecast = np.array([[-1e-3], [-1e-6], [0.0], [1e-6], [1e-3]], "float32")

        def loss(p):
            return quantile_loss(np.zeros((5, 1)), p, quantiles=tau, smoothing=0.1)

        expected = 1 / (1 + np.exp(-forecast / 0.1)) - tau
        for run in (loss, compiled(loss), compiled(loss, xla=True)):
            np.testing.assert_allclose(gradient(run, forecast), expected, atol=1e-6)


samples = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=30)


class TestProperties:
    @settings(max_examples=60, deadline=None)
    @given(samples, st.sampled_from(TAUS))
    def test_no_forecast_beats_the_empirical_quantile(self, sample, tau):
        y = np.sort(np.array(sample, "float32"))
        best = y[int(np.ceil(tau * len(y))) - 1]
        candidates = np.concatenate([[best], np.linspace(y[0] - 1, y[-1] + 1, 50), y])
        labels = np.tile(y, (len(candidates), 1))
        forecasts = np.tile(np.float32(candidates)[:, None], len(y))
        reached, *values = numpy(duo.Quantile(tau, reduction="none")(labels, forecasts))
        assert (reached <= np.array(values) + 1e-5 * (1 + np.abs(values))).all()

    @settings(max_examples=60, deadline=None)
    @given(samples, st.sampled_from(TAUS), st.sampled_from((0.0, 0.5)))
    def test_it_is_mirrored_and_not_negative(self, sample, tau, smoothing):
        y, forecast = np.array(sample, "float32"), np.zeros(len(sample), "float32")
        value = numpy(quantile_loss(y, forecast, quantiles=tau, smoothing=smoothing))
        mirrored = quantile_loss(-y, -forecast, quantiles=1 - tau, smoothing=smoothing)
        np.testing.assert_allclose(numpy(mirrored), value, rtol=1e-4, atol=1e-6)
        assert (value >= 0).all()


def test_twice_the_loss_over_many_quantiles_is_the_crps():
    """Of a standard normal forecast, which has the CRPS in closed form."""
    levels = (np.arange(2000) + 0.5) / 2000
    y = np.linspace(-3, 3, 13)
    forecast = np.broadcast_to(stats.norm.ppf(levels), (13, 2000)).astype("float32")
    crps = y * (2 * stats.norm.cdf(y) - 1) + 2 * stats.norm.pdf(y) - 1 / np.sqrt(np.pi)
    actual = 2 * numpy(quantile_loss(y, forecast, quantiles=levels))
    np.testing.assert_allclose(actual, crps, rtol=2e-3)


def test_a_model_trains_to_the_quantiles():
    """Noise that grows with x: the head finds each quantile, in order and in coverage."""
    random = np.random.default_rng(0)
    x = random.uniform(0, 1, (2048, 1)).astype("float32")
    y = (2 * x + (0.2 + x) * random.normal(size=x.shape)).astype("float32")
    levels = [0.1, 0.5, 0.9]
    model = keras.Sequential([keras.Input((1,)), duo.QuantileHead(levels)])
    coverage = duo.QuantileCoverage()
    model.compile(keras.optimizers.Adam(0.05), duo.Quantile(levels), metrics=[coverage])
    history = model.fit(x, y[:, 0], batch_size=256, epochs=30, verbose=0).history
    assert abs(history["quantile_coverage"][-1] - 0.8) < 0.03
    below = (y <= model.predict(x, verbose=0)).mean(axis=0)
    np.testing.assert_allclose(below, levels, atol=0.03)

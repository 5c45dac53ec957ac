"""The quantile metrics against their definitions, over batches, weights and masks."""

import keras
import numpy as np
import pytest
from keras import ops
from sklearn.metrics import mean_pinball_loss

import keras_duo as duo
from tests.backend import numpy
from tests.contracts.loss_promises import Masked

LEVELS = [0.1, 0.5, 0.9]
Y = np.random.default_rng(0).normal(size=(7, 5))
FORECASTS = np.sort(np.random.default_rng(1).normal(size=(7, 5, 3)), axis=-1).astype("float32")


def metrics():
    """Each metric, and its value for every element by itself."""
    inside = (FORECASTS[..., 0] <= Y) & (FORECASTS[..., 2] >= Y)
    error = Y[..., None] - FORECASTS
    tau = np.array(LEVELS)
    pinball = np.maximum(tau * error, (tau - 1) * error).mean(-1)
    return ((duo.QuantileCoverage(), inside.astype(float)), (duo.PinballLoss(LEVELS), pinball))


def test_it_is_exact_over_batches_of_any_size_and_length():
    for metric, each in metrics():
        for rows, steps in ((slice(1), 5), (slice(1, 7), 2)):
            metric.update_state(Y[rows, :steps], FORECASTS[rows, :steps])
        expected = np.append(each[:1].ravel(), each[1:, :2].ravel()).mean()
        np.testing.assert_allclose(numpy(metric.result()), expected, rtol=1e-6)


def test_weights_count_for_examples_and_for_elements():
    random = np.random.default_rng(2)
    for metric, each in metrics():
        for shape in ((7,), (7, 1), (7, 5)):
            weights = random.uniform(size=shape)
            spread = np.broadcast_to(weights.reshape(7, -1), each.shape)
            metric.reset_state()
            metric.update_state(Y, FORECASTS, weights)
            expected = (each * spread).sum() / spread.sum()
            np.testing.assert_allclose(numpy(metric.result()), expected, rtol=1e-5)


def test_a_zero_weight_stops_nan():
    for metric, each in metrics():
        broken = FORECASTS.copy()
        broken[0] = np.nan
        metric.update_state(Y, broken, np.arange(7) > 0)
        np.testing.assert_allclose(numpy(metric.result()), each[1:].mean(), rtol=1e-5)


def test_a_mask_counts_without_a_sample_weight():
    keep = np.random.default_rng(3).uniform(size=(7, 5)) < 0.6
    for metric, each in metrics():
        metric.update_state(Y, Masked(keep)(ops.convert_to_tensor(FORECASTS)))
        np.testing.assert_allclose(numpy(metric.result()), each[keep].mean(), rtol=1e-5)


def test_a_long_half_precision_batch_is_counted_in_full():
    metric = duo.QuantileCoverage(dtype="float16")
    metric.update_state(np.zeros(70_000), ops.cast(np.tile([-1.0, 1.0], (70_000, 1)), "float16"))
    assert numpy(metric.result()) == 1.0


def test_pinball_is_that_of_scikit_learn():
    metric = duo.PinballLoss(0.9)
    metric.update_state(Y[:3], FORECASTS[:3, :, 0])
    metric.update_state(Y[3:], FORECASTS[3:, :, 0])
    expected = mean_pinball_loss(Y, FORECASTS[..., 0], alpha=0.9)
    np.testing.assert_allclose(numpy(metric.result()), expected, rtol=1e-5)


def test_both_ends_and_equal_ends_are_inside_and_crossed_ends_hold_nothing():
    metric = duo.QuantileCoverage()
    metric.update_state([1.0, 2.0, 1.0], [[1.0, 2.0], [1.0, 2.0], [1.0, 1.0]])
    assert numpy(metric.result()) == 1.0
    metric.reset_state()
    metric.update_state([1.5], [[2.0, 1.0]])
    assert numpy(metric.result()) == 0.0


def test_the_ends_must_be_on_the_axis_and_in_order():
    for arguments, words in (
        ({"upper": 3}, "`upper` must be an index"),
        ({"lower": -4}, "`lower` must be an index"),
        ({"lower": 2}, "`lower` must come before `upper`"),
        ({"lower": 1, "upper": -3}, "`lower` must come before `upper`"),
    ):
        with pytest.raises(ValueError, match=f"{words}.*Received"):
            duo.QuantileCoverage(**arguments).update_state(Y, FORECASTS)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_in_a_model(policy):
    keras.config.set_dtype_policy(policy)
    x = np.random.default_rng(0).normal(size=(50, 2)).astype("float32")
    y = x.sum(-1)
    model = keras.Sequential([keras.Input((2,)), duo.QuantileHead(LEVELS)])
    model.compile(
        loss=duo.Quantile(LEVELS),
        metrics=[duo.QuantileCoverage()],
        weighted_metrics=[duo.PinballLoss(LEVELS)],
    )
    logs = model.evaluate(x, y, batch_size=32, verbose=0, return_dict=True)
    outputs = numpy(model(x))
    covered = ((outputs[:, 0] <= y) & (y <= outputs[:, 2])).mean()
    assert logs["quantile_coverage"] == pytest.approx(covered, abs=0.021)
    assert logs["pinball_loss"] == pytest.approx(logs["loss"], rel=1e-3)

"""Adaptive weights of MultiObjective: what they are, on which simplex, in every kind of step."""

import keras
import numpy as np
import pytest

import keras_duo as duo
from keras_duo import weightings
from tests.backend import compiled, gradient, numpy

X = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
Y = np.random.default_rng(1).integers(0, 2, (40, 1)).astype("float32")
P = np.random.default_rng(2).uniform(0.1, 0.9, (40, 1)).astype("float32")
ADAPTIVE = ["random", "inverse", "balanced", "min_norm"]


def parts():
    return [
        keras.losses.MeanSquaredError(),
        duo.MultiObjective([keras.losses.MeanAbsoluteError()]),
        duo.Focal(gamma=2.0),
    ]


def objective(weighting, **kwargs):
    return duo.MultiObjective(parts(), weighting=weighting, **kwargs)


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "none"])
@pytest.mark.parametrize("weighting", ADAPTIVE)
def test_the_value_is_the_sum_under_the_weights_in_force(weighting, reduction):
    loss = objective(weighting, reduction=reduction)
    weights = numpy(loss.weights_for(Y, P))
    assert weights.sum() == pytest.approx(1, abs=1e-6)
    assert (weights >= 0).all()
    values = [numpy(type(p).from_config({**p.get_config(), "reduction": reduction})(Y, P))
              for p in parts()]  # fmt: skip
    expected = sum(w * v for w, v in zip(weights, values, strict=True))
    np.testing.assert_allclose(numpy(loss(Y, P)), expected, rtol=1e-5)


@pytest.mark.parametrize("weighting", ADAPTIVE)
def test_the_weights_are_constants_to_the_gradient(weighting):
    loss = objective(weighting)
    weights = numpy(loss.weights_for(Y, P))
    expected = sum(
        w * gradient(lambda p, part=part: part(Y, p), P)
        for w, part in zip(weights, parts(), strict=True)
    )
    np.testing.assert_allclose(gradient(lambda p: loss(Y, p), P), expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("weighting", ADAPTIVE)
def test_every_kind_of_step_finds_the_same(weighting):
    loss = objective(weighting)
    for xla in (False, True):
        found = numpy(compiled(loss.weights_for, xla=xla)(Y, keras.ops.convert_to_tensor(P)))
        assert found.sum() == pytest.approx(1, abs=1e-6)
        if weighting != "random":  # whose hash sees the last bit of a loss
            np.testing.assert_allclose(found, numpy(loss.weights_for(Y, P)), rtol=1e-4)


def output_gradients():
    return np.stack([gradient(lambda p, part=part: part(Y, p), P).ravel() for part in parts()])


def test_inverse_weights_make_the_parts_equal():
    values = np.array([float(numpy(part(Y, P))) for part in parts()])
    shares = numpy(objective("inverse").weights_for(Y, P)) * values
    np.testing.assert_allclose(shares, shares[0], rtol=1e-5)


def test_balanced_weights_make_the_gradients_by_the_output_equally_long():
    weights = numpy(objective("balanced").weights_for(Y, P))
    lengths = weights * np.linalg.norm(output_gradients(), axis=1)
    np.testing.assert_allclose(lengths, lengths[0], rtol=1e-4)


def test_min_norm_weights_make_no_part_worse():
    weights = numpy(objective("min_norm").weights_for(Y, P))
    rows = output_gradients()
    np.testing.assert_allclose(weights, numpy(weightings.mgda(rows @ rows.T)), atol=1e-3)
    direction = weights @ rows
    assert (rows @ direction >= (1 - 1e-3) * (direction @ direction)).all()


def test_the_scale_of_a_part_does_not_matter_to_inverse_and_balanced():
    class Scaled(keras.losses.Loss):
        def call(self, y_true, y_pred):
            return 1e6 * keras.losses.mean_squared_error(y_true, y_pred)

    for weighting in ("inverse", "balanced"):
        loss = duo.MultiObjective([Scaled(), "MeanSquaredError"], weighting=weighting)
        weights = numpy(loss.weights_for(Y, P))
        assert weights[1] / weights[0] == pytest.approx(1e6, rel=1e-3)


def test_random_weights_are_new_for_each_batch_and_the_same_for_the_same():
    loss = objective("random")
    found = [numpy(loss.weights_for(Y[i : i + 8], P[i : i + 8])) for i in range(32)]
    again = numpy(loss.weights_for(Y[:8], P[:8]))
    np.testing.assert_array_equal(again, found[0])
    assert len({tuple(row) for row in found}) == 32
    mean, spread = np.mean(found, axis=0), np.std(found, axis=0)
    assert (np.abs(mean - 1 / 3) < 0.15).all()
    assert (spread > 0.1).all()


def test_a_mask_and_a_zero_weight_count_for_nothing():
    weights = np.ones(40)
    weights[20:] = 0
    for weighting in ("inverse", "balanced", "min_norm"):
        loss = objective(weighting, reduction="sum")
        found = numpy(loss.weights_for(Y, P, weights))
        np.testing.assert_allclose(found, numpy(loss.weights_for(Y[:20], P[:20])), rtol=1e-4)


def test_half_precision_outputs_find_finite_weights():
    for weighting in ADAPTIVE:
        half = keras.ops.cast(keras.ops.convert_to_tensor(P), "float16")
        assert np.isfinite(numpy(objective(weighting)(Y, half))).all()


@pytest.mark.parametrize("weighting", ["random", "min_norm"])
def test_the_weights_are_logged_and_come_back_from_a_file(weighting, tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, "sigmoid")])
    loss = duo.MultiObjective(parts()[:2], weighting=weighting)
    model.compile("adam", loss=loss, metrics=loss.metrics)
    logs = model.fit(X, Y, epochs=2, verbose=0).history
    names = [metric.name for metric in loss.metrics][2:]
    for weights in zip(*(logs[name] for name in names), strict=True):
        assert sum(weights) == pytest.approx(1, abs=1e-6)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.loss.weighting == weighting
    np.testing.assert_allclose(numpy(again.loss(Y, P)), numpy(loss(Y, P)), rtol=1e-6)
    again.fit(X, Y, verbose=0)


def test_weights_given_to_a_weighting_that_finds_its_own_are_refused():
    with pytest.raises(ValueError, match=r"`weights` must be None.*Received: weights="):
        duo.MultiObjective(["Huber", "LogCosh"], [1, 2], weighting="inverse")

"""Several losses on one output: values, weights, metrics, saving, and what is refused."""

import keras
import numpy as np
import pytest

import keras_duo as duo
from tests.backend import numpy

X = np.random.default_rng(0).normal(size=(50, 4)).astype("float32")
Y = np.random.default_rng(1).normal(size=(50, 2)).astype("float32")


def objective(**kwargs):
    parts = [keras.losses.MeanSquaredError(), keras.losses.Huber(delta=0.3)]
    return duo.MultiObjective(parts, [3, 1], **kwargs)


def test_value_is_the_weighted_sum():
    weights = np.random.default_rng(2).uniform(size=50)
    for reduction in ("sum", "sum_over_batch_size", "mean_with_sample_weight", "none"):
        mse = keras.losses.MeanSquaredError(reduction=reduction)
        huber = keras.losses.Huber(delta=0.3, reduction=reduction)
        for weight in (None, weights):
            expected = 0.75 * numpy(mse(Y, X[:, :2], weight))
            expected = expected + 0.25 * numpy(huber(Y, X[:, :2], weight))
            actual = numpy(objective(reduction=reduction)(Y, X[:, :2], weight))
            np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_weights_are_on_the_simplex():
    assert objective().weights == (0.75, 0.25)
    assert duo.MultiObjective(["Huber"] * 4).weights == (0.25,) * 4
    assert sum(duo.MultiObjective(["Huber"] * 3, [1e308, 1e-308, 1e308]).weights) == 1.0


@pytest.mark.parametrize(
    "weights", [[1], [1, -1], [0, 0], [1, float("nan")], [1, float("inf")], "ab", 3]
)
def test_bad_weights_are_refused(weights):
    with pytest.raises(ValueError, match=r"`weights` must be 2 finite numbers.*Received: weights="):
        duo.MultiObjective(["Huber", "LogCosh"], weights)


@pytest.mark.parametrize("losses", [[], None, "Huber", ["no such loss"], [3], [None]])
def test_bad_losses_are_refused(losses):
    with pytest.raises(ValueError, match=r"`losses` must be .*Received: losses="):
        duo.MultiObjective(losses)


@pytest.mark.parametrize("name", ["mse", "MSE", "mean_squared_error", "MeanSquaredError"])
def test_a_loss_has_the_names_that_compile_takes(name):
    loss = duo.MultiObjective([name, "kl_divergence"])
    assert [type(part).__name__ for part in loss.losses] == ["MeanSquaredError", "KLDivergence"]
    again = duo.MultiObjective.from_config(loss.get_config())
    assert [part.name for part in again.losses] == ["mean_squared_error", "kl_divergence"]


def test_an_unknown_weighting_is_refused():
    with pytest.raises(ValueError, match=r"`weighting` must be one of .*Received: weighting="):
        duo.MultiObjective(["Huber"], weighting="softmax")


def test_the_parts_are_logged_and_sum_to_the_loss():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    loss = objective()
    model.compile("sgd", loss=loss, metrics=loss.metrics)
    logs = model.fit(X, Y, batch_size=32, epochs=2, verbose=0).history
    parts = [metric.name for metric in loss.metrics]
    assert set(logs) == {"loss", *parts}
    for epoch in range(2):
        total = sum(
            weight * logs[name][epoch] for weight, name in zip(loss.weights, parts, strict=True)
        )
        assert total == pytest.approx(logs["loss"][epoch], rel=1e-5)


def test_metrics_of_the_same_loss_have_different_names():
    names = [metric.name for metric in duo.MultiObjective(["Huber", "Huber"]).metrics]
    assert len(set(names)) == 2


def test_it_replaces_a_list_of_losses_that_keras_cuts():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.compile("sgd", loss=objective())
    value = model.evaluate(X, Y, verbose=0)
    y_pred = model.predict(X, verbose=0)
    expected = 0.75 * ((Y - y_pred) ** 2).mean() + 0.25 * numpy(
        keras.losses.Huber(delta=0.3)(Y, y_pred)
    )
    assert value == pytest.approx(expected, rel=1e-5)


def test_reload_keeps_every_part(tmp_path):
    """Keras itself reloads Huber(delta=0.3) as Huber(delta=1.0)."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    parts = [
        keras.losses.Huber(delta=0.3),
        keras.losses.CosineSimilarity(axis=0),
        duo.MultiObjective([duo.Focal(gamma=0.5, from_logits=True), "LogCosh"], [1, 4]),
    ]
    loss = duo.MultiObjective(parts, [1, 2, 3], reduction="sum", name="all_of_them")
    model.compile("sgd", loss=loss, metrics=loss.metrics)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras").loss
    assert (again.name, again.weights, again.reduction) == (loss.name, loss.weights, "sum")
    labels = (Y > 0).astype("float32")
    assert numpy(again(labels, X[:, :2])) == pytest.approx(numpy(loss(labels, X[:, :2])), rel=1e-6)


@pytest.mark.parametrize(
    "part",
    [
        {"module": "keras.config", "class_name": "set_floatx", "config": {}},
        {"module": "keras.layers", "class_name": "Dense", "config": {"units": 1}},
        {"module": "builtins", "class_name": "function", "config": "eval"},
        "mean_squared_error",
        None,
    ],
)
def test_a_config_with_anything_but_losses_is_refused(part):
    config = {**objective().get_config(), "losses": [part]}
    with pytest.raises(ValueError, match="`losses` in a saved config must hold losses"):
        duo.MultiObjective.from_config(config)


def test_parts_with_values_of_other_shapes():
    sequence = np.random.default_rng(0).normal(size=(3, 5, 2)).astype("float32")

    class PerImage(keras.losses.Loss):
        def call(self, y_true, y_pred):
            return keras.ops.mean(keras.ops.square(y_true - y_pred), axis=(1, 2))

    mixed = duo.MultiObjective([keras.losses.MeanSquaredError(), PerImage()])
    expected = ((sequence - 1) ** 2).mean()
    assert numpy(mixed(np.ones_like(sequence), sequence)) == pytest.approx(expected, rel=1e-5)
    unreduced = duo.MultiObjective(mixed.losses, reduction="none")
    with pytest.raises(ValueError, match="`reduction` must be other than 'none'"):
        unreduced(np.ones_like(sequence), sequence)


def test_integer_labels_reach_the_parts_unchanged():
    y_pred = np.zeros((1, 2052), "float32")
    y_pred[0, 2049] = 5.0
    loss = duo.MultiObjective([duo.SparseCategoricalFocal(from_logits=True)], dtype="bfloat16")
    assert numpy(loss(np.array([2049]), y_pred)) < numpy(loss(np.array([2048]), y_pred))

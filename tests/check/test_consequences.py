"""What the texts of the findings say about training, measured. Their figures: test_page.py."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, losses, ops

import keras_duo
from keras_duo import check
from tests.check.ways import functional


def value_and_gradient(loss, label, output):
    output = tf.constant(output, "float32")
    with tf.GradientTape() as tape:
        tape.watch(output)
        value = loss(tf.constant(label), output)
    return float(value), tape.gradient(value, output).numpy()


@pytest.mark.filterwarnings("ignore:You are using a softmax over axis:UserWarning")
def test_softmax_one_unit():
    model = functional(layers.Dense(1, "softmax"))
    x = np.random.default_rng(0).normal(size=(16, 4))
    # Not equal: the last digit of a softmax depends on the processor.
    np.testing.assert_allclose(model.predict(x, verbose=0), 1, rtol=1e-6)
    model.compile(keras.optimizers.SGD(1.0), loss="bce")
    y = (x[:, :1] > 0).astype("float32")
    values = model.fit(x, y, epochs=20, verbose=0).history["loss"]
    assert values[-1] < 0.7 * values[0]
    np.testing.assert_allclose(model.predict(x, verbose=0), 1, rtol=1e-6)


def test_log_probabilities_are_inverted():
    value, _ = value_and_gradient(
        losses.CategoricalCrossentropy(), [[1.0, 0.0]], np.log([[0.1, 0.9]])
    )
    share = np.log(0.1) / np.log(0.1 * 0.9)
    assert value == pytest.approx(-np.log(share), rel=1e-5)
    assert share > 0.9


@pytest.mark.filterwarnings("ignore:In loss categorical_:SyntaxWarning")
def test_one_class():
    for loss in (losses.CategoricalFocalCrossentropy(), losses.SparseCategoricalCrossentropy()):
        label = [0] if "Sparse" in type(loss).__name__ else [[1.0]]
        value, gradient = value_and_gradient(loss, label, [[0.3]])
        assert (value, gradient) == (pytest.approx(0, abs=1e-6), 0)


def test_repaired_on_tensorflow():
    x, y = np.eye(4, dtype="float32"), np.array([[1.0], [0], [1], [0]])

    def trained(loss):
        keras.utils.set_random_seed(0)
        model = functional(layers.Dense(1, "sigmoid"))
        model.compile("sgd", loss=loss)
        return model.fit(x, y, epochs=3, verbose=0).history["loss"]

    with pytest.warns(UserWarning, match="from_logits=True"):
        repaired = trained(losses.BinaryCrossentropy(from_logits=True))
    assert repaired == trained(losses.BinaryCrossentropy())
    focal = trained(losses.BinaryFocalCrossentropy(from_logits=True))
    assert focal != trained(losses.BinaryFocalCrossentropy())


def test_softmax_from_logits():
    model = functional(layers.Dense(10, "softmax"))
    model.compile(loss=losses.CategoricalCrossentropy(from_logits=True))
    label = np.eye(10, dtype="float32")[:1]
    floor, _ = value_and_gradient(model.loss, label, label)
    assert f"above {floor:.3f}" in check(model)[0].consequence
    assert f"probability {np.exp(-floor):.3f}" in check(model)[0].consequence


def test_sigmoid_single_label():
    # The crossentropies take the logits behind the sigmoid as those of a softmax.
    x, y = np.eye(4, dtype="float32"), np.eye(4, dtype="float32")[:, :3]
    model = functional(layers.Dense(3, "sigmoid"))
    logits = keras.Model(model.input, ops.matmul(model.input, model.layers[-1].kernel))
    model.compile(loss=losses.CategoricalCrossentropy())
    expected = losses.CategoricalCrossentropy(from_logits=True)(y, logits(x))
    assert model.evaluate(x, y, verbose=0) == pytest.approx(float(expected), rel=1e-5)
    assert not np.allclose(model.predict(x, verbose=0).sum(-1), 1)


@pytest.mark.parametrize("loss", [losses.BinaryFocalCrossentropy(), keras_duo.Focal()])
@pytest.mark.parametrize(("label", "output"), [(1.0, 1.5), (0.0, -0.5)])
def test_clipped_on_one_side(loss, label, output):
    assert abs(value_and_gradient(loss, [[label]], [[output]])[1]) < 1e-6

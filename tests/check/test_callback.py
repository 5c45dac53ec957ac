"""PairCheck: the first thing that `fit` does."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_duo as duo
from tests.check.ways import functional

X = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
Y = (X[:, :1] > 0).astype("float32")


def model(activation, loss="bce", **arguments):
    keras.utils.set_random_seed(0)
    made = functional(layers.Dense(1, activation))
    made.compile("sgd", loss=loss, **arguments)
    return made


def test_a_run_that_fits_is_the_same(capsys):
    plain = model("sigmoid").fit(X, Y, verbose=0).history
    callback = duo.PairCheck(X, Y)
    assert model("sigmoid").fit(X, Y, verbose=0, callbacks=[callback]).history == plain
    assert callback.findings == []
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("data", [(), (X, Y)])
def test_an_error_stops_before_the_first_step(data):
    wrong = model(None)
    before = wrong.get_weights()
    with pytest.raises(ValueError, match=r"does not fit .*\n.*logits-as-probabilities"):
        wrong.fit(X, Y, verbose=0, callbacks=[duo.PairCheck(*data)])
    for first, second in zip(before, wrong.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_labels_stop_it_too():
    with pytest.raises(ValueError, match="labels-not-probabilities"):
        model("sigmoid").fit(X, Y - 1, verbose=0, callbacks=[duo.PairCheck(X, Y - 1)])


def test_the_first_batch_of_a_dataset():
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices((X, Y - 1)).batch(8)
    with pytest.raises(ValueError, match="labels-not-probabilities"):
        model("sigmoid").fit(dataset, shuffle=False, verbose=0, callbacks=[duo.PairCheck(dataset)])


@pytest.mark.parametrize(
    ("raise_on", "stops"),
    [("error", False), (None, False), ("warning", True), ("advice", True), ("unknown", True)],
)
def test_what_does_not_stop_is_printed(raise_on, stops, capsys):
    warned = model(None, "bce", metrics=["accuracy"])
    warned.compile("sgd", loss=keras.losses.BinaryCrossentropy(from_logits=True), metrics=["acc"])
    callback = duo.PairCheck(raise_on=raise_on)
    if stops:
        with pytest.raises(ValueError, match="warning: metric-threshold"):
            warned.fit(X, Y, verbose=0, callbacks=[callback])
    else:
        warned.fit(X, Y, verbose=0, callbacks=[callback])
        assert "warning: metric-threshold" in capsys.readouterr().out
    assert [finding.code for finding in callback.findings] == ["metric-threshold"]


def test_argument():
    with pytest.raises(ValueError, match=r"^`raise_on` must be None or one of .*'fatal'$"):
        duo.PairCheck(raise_on="fatal")

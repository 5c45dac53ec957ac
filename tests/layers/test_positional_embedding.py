"""PositionalEmbedding: a vector for each position, and none past the last."""

import numpy as np
import pytest
from keras import ops

import keras_duo as duo
from tests.backend import BACKEND, compiled, numpy


def test_sinusoids_are_those_of_the_paper():
    layer = duo.PositionalEmbedding(7, initializer="sinusoidal", trainable=False)
    found = numpy(layer(np.zeros((1, 7, 6), "float32")))[0]
    rates = 10_000.0 ** (-2 * np.arange(3) / 6)
    angles = np.arange(7)[:, None] * rates
    np.testing.assert_allclose(found, np.hstack([np.sin(angles), np.cos(angles)]), atol=1e-6)
    assert layer.trainable_variables == []
    assert duo.PositionalEmbedding(5, initializer="sinusoidal")(np.zeros((1, 5, 3))).shape[2] == 3


def test_parts_are_those_of_the_whole():
    layer, x = duo.PositionalEmbedding(6), np.ones((2, 6, 4), "float32")
    whole = numpy(layer(x))
    assert np.ptp(whole, axis=1).min() > 0
    step = compiled(lambda x, at: layer(x, position=at))
    for part in (layer(x[:, 4:], position=4), step(x[:, 4:], ops.convert_to_tensor(4))):
        np.testing.assert_allclose(numpy(part), whole[:, 4:])


def test_too_long_an_input_is_an_error():
    layer = duo.PositionalEmbedding(4)
    with pytest.raises(ValueError, match="`max_length` must reach to the end"):
        layer(np.ones((2, 5, 3)))
    for position in (3, -1):
        with pytest.raises(ValueError, match="`max_length` must reach to the end"):
            layer(np.ones((2, 2, 3)), position=position)
    with pytest.raises(ValueError, match="`inputs` must have the shape"):
        duo.PositionalEmbedding(4).build((2, 3))


@pytest.mark.skipif(BACKEND != "tensorflow", reason="JAX knows each length when it traces")
def test_too_long_an_input_of_unknown_length_is_an_error():
    import tensorflow as tf

    layer = duo.PositionalEmbedding(4)
    layer.build((None, None, 3))
    run = tf.function(layer, input_signature=[tf.TensorSpec([None, None, 3])])
    assert run(np.ones((2, 4, 3), "float32")).shape == (2, 4, 3)
    with pytest.raises(tf.errors.InvalidArgumentError):
        run(np.ones((2, 5, 3), "float32"))

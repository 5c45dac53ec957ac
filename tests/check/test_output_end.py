"""The walk back from an output: which ends are read, and which are left unknown."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, losses, ops

import keras_duo
from keras_duo.check._activation_table import ACTIVATIONS
from tests.check.ways import codes, functional


class TestEndOfGraph:
    BCE = losses.BinaryCrossentropy()
    FROM_LOGITS = losses.BinaryCrossentropy(from_logits=True)
    CCE = losses.CategoricalCrossentropy()

    @pytest.mark.parametrize(
        ("step", "expected"),
        [
            (ops.sigmoid, []),
            (keras.activations.sigmoid, []),
            (layers.Activation(ops.sigmoid), []),
            (ops.relu, ["rectified-probability"]),
            (keras.activations.relu, ["rectified-probability"]),
            (layers.ReLU(), ["rectified-probability"]),
            (layers.ReLU(6.0), ["rectified-probability"]),
            (layers.ReLU(1.0), ["unknown-output"]),
            (layers.LeakyReLU(), ["rectified-probability"]),
            (layers.PReLU(), ["rectified-probability"]),
            (layers.ELU(), ["rectified-probability"]),
            (ops.tanh, ["tanh-probability"]),
            (keras.activations.sparse_sigmoid, []),
            (keras.activations.soft_shrink, ["rectified-probability"]),
            (layers.Activation("sparsemax"), ["unknown-output"]),
            (ops.softmax, ["softmax-multi-label"]),
            (layers.Softmax(), ["softmax-multi-label"]),
            (layers.BatchNormalization(), ["unbounded-probability"]),
            (keras_duo.LearnableActivation("sigmoid"), ["unbounded-probability"]),
            (layers.Activation(keras_duo.LearnableActivation()), ["unbounded-probability"]),
            (layers.Lambda(ops.sigmoid), ["unknown-output"]),
            (layers.Activation(lambda x: ops.sigmoid(x)), ["unknown-output"]),
            (lambda x: ops.softmax(x)[:, 1:], []),
            (lambda x: 0.5 + 0.5 * ops.tanh(x), ["unknown-output"]),
            (lambda x: ops.relu(ops.sigmoid(x)), ["unknown-output"]),
            (lambda x: ops.cast(ops.sigmoid(x), "float64"), []),
            (lambda x: ops.reshape(ops.sigmoid(x), (-1, 3, 1)), []),
            (layers.Dense(3, kernel_constraint="non_neg"), ["unknown-output"]),
            (layers.Dense(3, trainable=False), ["unknown-output"]),
            (layers.UnitNormalization(), ["unknown-output"]),
            (layers.Rescaling(0.1), ["logits-as-probabilities"]),
            (lambda x: 2.0 * x - 1.0, ["logits-as-probabilities"]),
            (lambda x: ops.clip(x, 0, 1), ["unknown-output"]),
            (lambda x: layers.Add()([x, ops.sigmoid(x)]), ["logits-as-probabilities"]),
            (lambda x: ops.sigmoid(x) * ops.sigmoid(-x), ["unknown-output"]),
            (lambda x: ops.concatenate([ops.sigmoid(x), ops.sigmoid(-x)], axis=-1), []),
            (lambda x: ops.stack([x, 2 * x], axis=-1), ["logits-as-probabilities"]),
            (lambda x: ops.concatenate([ops.sigmoid(x), x], axis=-1), ["unknown-output"]),
            (lambda x: ops.concatenate([ops.softmax(x)] * 2, axis=-1), ["unknown-output"]),
            # An activation of an activation.
            (lambda x: ops.softmax(ops.softmax(x)), ["double-softmax", "softmax-multi-label"]),
            (lambda x: ops.softmax(ops.sigmoid(x)), ["double-softmax", "softmax-multi-label"]),
            (lambda x: ops.sigmoid(ops.sigmoid(x)), ["double-sigmoid"]),
            (lambda x: ops.sigmoid(layers.Dropout(0.1)(ops.softmax(x))), ["double-sigmoid"]),
            (lambda x: ops.sigmoid(layers.Dense(3)(ops.sigmoid(x))), []),
            (lambda x: ops.sigmoid(ops.tanh(x)), ["bounded-logits"]),
            (lambda x: ops.sigmoid(ops.relu(x)), ["rectified-logits"]),
            (lambda x: ops.sigmoid(ops.leaky_relu(x)), []),
            (lambda x: ops.sigmoid(layers.BatchNormalization()(ops.relu(x))), []),
        ],
    )
    def test_step(self, step, expected):
        assert codes(functional(layers.Dense(3), step), self.BCE) == expected

    @pytest.mark.parametrize(
        "step",
        [
            layers.Reshape((3, 1)),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Identity(),
            layers.ActivityRegularization(1e-3),
            layers.RepeatVector(2),
            layers.Masking(),
            keras.Sequential([keras.Input((3,)), layers.Dropout(0.5)]),
        ],
    )
    def test_walks_through(self, step):
        assert codes(functional(layers.Dense(3, "sigmoid"), step), self.FROM_LOGITS) == [
            "sigmoid-from-logits"
        ]
        assert codes(functional(layers.Dense(3, "sigmoid"), step), self.BCE) == []

    def test_images(self):
        inputs = keras.Input((8, 8, 2))
        x = layers.Conv2D(3, 3, activation="softmax")(inputs)
        assert codes(keras.Model(inputs, layers.Cropping2D(1)(x)), self.CCE) == []
        assert codes(keras.Model(inputs, layers.UpSampling2D(2)(x)), self.CCE) == []
        assert codes(keras.Model(inputs, layers.GlobalAveragePooling2D()(x)), self.CCE) == []
        assert codes(keras.Model(inputs, layers.Flatten()(x)), self.CCE) == ["unknown-output"]
        swapped = keras.Model(inputs, layers.Permute((3, 1, 2))(x))
        assert codes(swapped, self.CCE) == ["unknown-output"]
        cubic = layers.UpSampling2D(2, interpolation="bicubic")(x)
        assert codes(keras.Model(inputs, cubic), self.CCE) == ["unknown-output"]

    def test_axis_of_softmax_and_loss(self):
        inputs = keras.Input((3, 5))
        first = keras.Model(inputs, layers.Softmax(axis=1)(inputs))
        assert codes(first, self.CCE) == ["unknown-output"]
        assert codes(first, losses.CategoricalCrossentropy(axis=1)) == []

    def test_wrappers_and_recurrent_layers(self):
        inputs = keras.Input((5, 3))

        def through(*steps):
            x = inputs
            for step in steps:
                x = step(x)
            return keras.Model(inputs, x)

        assert codes(through(layers.TimeDistributed(layers.Dense(2, "softmax"))), self.CCE) == []
        assert codes(through(layers.TimeDistributed(layers.Dense(2))), self.BCE) == [
            "logits-as-probabilities"
        ]
        dropout = layers.TimeDistributed(layers.Dropout(0.1))
        assert codes(through(layers.Dense(2, "sigmoid"), dropout), self.BCE) == []
        assert codes(through(layers.LSTM(2)), self.BCE) == ["tanh-probability"]
        squashed = through(layers.LSTM(2), layers.Activation("softmax"))
        assert codes(squashed, self.CCE) == ["bounded-logits"]
        assert codes(through(layers.LSTM(2, activation="sigmoid")), self.BCE) == ["unknown-output"]
        assert codes(through(layers.SimpleRNN(2, activation="sigmoid")), self.BCE) == []
        both = layers.Bidirectional(layers.LSTM(2))
        assert codes(through(both), self.BCE) == ["tanh-probability"]
        summed = layers.Bidirectional(layers.LSTM(2), merge_mode="sum")
        assert codes(through(summed), self.BCE) == ["unknown-output"]

    def test_shared_layer(self):
        inputs = keras.Input((3,))
        head = layers.Activation("sigmoid")
        head(inputs)
        x = layers.Dense(3)(head(layers.Dense(3)(inputs)))
        assert codes(keras.Model(inputs, x), self.BCE) == ["logits-as-probabilities"]

    def test_embedding_and_attention_are_linear(self):
        inputs = keras.Input((5,), dtype="int32")
        x = layers.Embedding(10, 3)(inputs)
        assert codes(keras.Model(inputs, x), self.BCE) == ["logits-as-probabilities"]
        attended = layers.MultiHeadAttention(1, 2)(x, x)
        assert codes(keras.Model(inputs, attended), self.BCE) == ["logits-as-probabilities"]

    def test_a_part_that_reaches_the_input_is_not_the_whole(self):
        inputs, inner = keras.Input((3,)), keras.Input((3,))
        joined = layers.Concatenate()([inner, layers.Dense(3, "sigmoid")(inner)])
        model = keras.Model(inner, joined)
        outer = keras.Model(inputs, model(layers.Dense(3, "sigmoid")(inputs)))
        assert codes(outer, self.BCE) == ["unknown-output"]

    def test_many_residual_sums_are_read_once(self):
        inputs = keras.Input((3,))
        x = layers.Lambda(ops.abs)(inputs)
        for _ in range(40):  # 2^40 ways through the graph
            x = layers.Add()([ops.relu(x), ops.relu(x)])
        assert codes(keras.Model(inputs, x), self.BCE) == ["unknown-output"]

    @pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
    def test_half_precision(self, dtype):
        half = layers.Dense(3, "sigmoid", dtype=dtype)
        assert codes(functional(half), self.BCE) == ["half-precision-probability"]
        again = layers.Activation("linear", dtype="float32")
        assert codes(functional(half, again), self.BCE) == ["half-precision-probability"]
        logits = layers.Dense(3, dtype=dtype)
        wide = layers.Activation("sigmoid", dtype="float32")
        assert codes(functional(logits, wide), self.BCE) == []
        assert codes(functional(logits), self.FROM_LOGITS) == []

    @pytest.mark.parametrize(
        "activation", [tf.nn.sigmoid, tf.sigmoid, tf.nn.softmax, tf.nn.relu, tf.nn.log_softmax]
    )
    def test_functions_of_the_backend(self, activation):
        name = activation.__name__.removesuffix("_v2")
        expected = codes(functional(layers.Dense(3, name)), self.BCE)
        assert codes(functional(layers.Dense(3, activation)), self.BCE) == expected

    def test_input_as_output(self):
        inputs = keras.Input((3,))
        assert codes(keras.Model(inputs, inputs), self.BCE) == ["unknown-output"]


def test_lower_bounds_of_activations():
    x = np.linspace(-200, 200, 400_001, dtype="float32")
    for name, (_, low, high) in ACTIVATIONS.items():
        y = np.asarray(keras.activations.get(name)(x))
        assert low <= y.min(), name
        assert y.max() <= high, name
        if np.isfinite(low):
            assert y.min() <= low + 1e-2, name

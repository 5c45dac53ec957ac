"""`check`: what it finds, what it must not find, and that what it says about training is true."""

import functools
import json
import re
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, losses, ops

import keras_duo
from keras_duo.check import CODES, SEVERITIES, Finding, check

BINARY = {
    "string": "binary_crossentropy",
    "alias": "bce",
    "class-string": "BinaryCrossentropy",
    "function": losses.binary_crossentropy,
    "class": losses.BinaryCrossentropy,
    "instance": losses.BinaryCrossentropy(),
    "keras-focal": losses.BinaryFocalCrossentropy(),
    "focal": keras_duo.Focal(),
    "focal-function": keras_duo.focal_loss,
    "list-of-one": [losses.BinaryCrossentropy()],
}
CATEGORICAL = {
    "string": "categorical_crossentropy",
    "sparse-string": "sparse_categorical_crossentropy",
    "function": losses.categorical_crossentropy,
    "sparse-function": losses.sparse_categorical_crossentropy,
    "class": losses.CategoricalCrossentropy,
    "instance": losses.CategoricalCrossentropy(),
    "sparse-instance": losses.SparseCategoricalCrossentropy(ignore_class=0),
    "keras-focal": losses.CategoricalFocalCrossentropy(),
    "focal": keras_duo.CategoricalFocal(),
    "sparse-focal": keras_duo.SparseCategoricalFocal(),
}
BINARY_LOGITS = {
    "instance": losses.BinaryCrossentropy(from_logits=True),
    "keras-focal": losses.BinaryFocalCrossentropy(from_logits=True),
    "focal": keras_duo.Focal(from_logits=True),
}
CATEGORICAL_LOGITS = {
    "instance": losses.CategoricalCrossentropy(from_logits=True),
    "sparse-instance": losses.SparseCategoricalCrossentropy(from_logits=True),
    "keras-focal": losses.CategoricalFocalCrossentropy(from_logits=True),
    "focal": keras_duo.CategoricalFocal(from_logits=True),
    "sparse-focal": keras_duo.SparseCategoricalFocal(from_logits=True),
}
REGRESSION = {
    name: name for name in ("mse", "mae", "hinge", "log_cosh", "mean_squared_logarithmic_error")
} | {"huber": losses.Huber(2.0), "class": losses.MeanSquaredError, "poisson": "poisson"}


def functional(units, activation, then=()):
    inputs = keras.Input((4,))
    outputs = layers.Dense(units, activation=activation)(inputs)
    for step in then:
        outputs = step(outputs)
    return keras.Model(inputs, outputs)


def sequential(units, activation):
    return keras.Sequential([keras.Input((4,)), layers.Dense(units, activation=activation)])


def nested(units, activation):
    inputs = keras.Input((4,))
    inner = keras.Model(inputs, sequential(units, activation)(inputs))
    return keras.Model(inputs, inner(inputs))


def separate(units, activation):
    step = layers.Activation(activation or "linear")
    return functional(units, None, [step, layers.Dropout(0.1), layers.Activation("linear")])


@functools.cache
def built(build, units, activation):
    return build(units, activation)


BUILDERS = [functional, sequential, nested, separate]


def codes(model, loss="no loss given"):
    if loss != "no loss given":
        model.compile("sgd", loss=loss)
    return [finding.code for finding in check(model)]


# (units, activation, losses, codes)
MATRIX = [
    # Right pairs.
    (1, "sigmoid", BINARY, []),
    (3, "sigmoid", BINARY, []),
    (3, "softmax", CATEGORICAL, []),
    (3, "softmax", {"kld": "kl_divergence", "mse": "mse"}, []),
    (1, None, BINARY_LOGITS, []),
    (3, None, BINARY_LOGITS, []),
    (3, None, CATEGORICAL_LOGITS, []),
    (3, "log_softmax", CATEGORICAL_LOGITS, []),
    (3, "exponential", CATEGORICAL, []),
    (1, "leaky_relu", BINARY_LOGITS, []),
    (1, None, REGRESSION, []),
    (1, "relu", REGRESSION, []),
    (3, "tanh", REGRESSION, []),
    # Wrong ones.
    (3, "softmax", CATEGORICAL_LOGITS, ["softmax-from-logits"]),
    (3, "softmax", BINARY_LOGITS, ["softmax-from-logits"]),
    (1, "sigmoid", BINARY_LOGITS, ["sigmoid-from-logits"]),
    (3, "sigmoid", CATEGORICAL_LOGITS, ["sigmoid-from-logits"]),
    (1, "hard_sigmoid", BINARY_LOGITS, ["sigmoid-from-logits"]),
    (1, None, BINARY, ["logits-as-probabilities"]),
    (3, None, CATEGORICAL | {"kld": losses.KLDivergence()}, ["logits-as-probabilities"]),
    (3, "log_softmax", CATEGORICAL, ["logits-as-probabilities"]),
    (1, "softmax", BINARY | REGRESSION, ["softmax-one-unit"]),
    (1, "sigmoid", CATEGORICAL, ["categorical-one-unit"]),
    (1, None, CATEGORICAL_LOGITS, ["categorical-one-unit"]),
    (2, "softmax", BINARY, ["softmax-multi-label"]),
    (1, "relu", BINARY, ["rectified-probability"]),
    (3, "relu", CATEGORICAL, ["rectified-probability"]),
    (3, "gelu", CATEGORICAL | BINARY, ["rectified-probability"]),
    (1, "softplus", BINARY, ["rectified-probability"]),
    (1, "tanh", BINARY, ["tanh-probability"]),
    (3, "softsign", CATEGORICAL, ["tanh-probability"]),
    (1, "relu", BINARY_LOGITS, ["rectified-logits"]),
    (3, "silu", CATEGORICAL_LOGITS, ["rectified-logits"]),
    (1, "tanh", BINARY_LOGITS, ["bounded-logits"]),
    (3, "tanh", CATEGORICAL_LOGITS, ["bounded-logits"]),
    (3, "sigmoid", CATEGORICAL, ["sigmoid-single-label"]),
    # Every loss of ours is known.
    (3, "softmax", {"robust": keras_duo.PolyCrossEntropy()}, []),
    (3, None, {"robust": keras_duo.SymmetricCrossEntropy()}, ["logits-as-probabilities"]),
    (3, None, {"robust": keras_duo.AsymmetricFocal()}, ["logits-as-probabilities"]),
    (1, None, {"others": keras_duo.Quantile(), "gan": keras_duo.LSGAN()}, []),
    # The parts of a MultiObjective, each for itself.
    (1, "sigmoid", {"objective": keras_duo.MultiObjective([keras_duo.Focal(), "LogCosh"])}, []),
    (
        1,
        None,
        {"objective": keras_duo.MultiObjective(["LogCosh", keras_duo.Focal()])},
        ["logits-as-probabilities"],
    ),
]
CASES = [
    pytest.param(units, activation, loss, expected, id=f"{units}-{activation}-{spelling}")
    for units, activation, spellings, expected in MATRIX
    for spelling, loss in spellings.items()
]


@pytest.mark.filterwarnings("ignore:You are using a softmax over axis:UserWarning")
@pytest.mark.parametrize(("units", "activation", "loss", "expected"), CASES)
def test_matrix(units, activation, loss, expected):
    for build in BUILDERS:
        assert codes(built(build, units, activation), loss) == expected, build


@pytest.mark.parametrize(
    ("units", "activation", "loss", "expected"),
    [
        (1, "sigmoid", losses.BinaryCrossentropy(from_logits=True), ["sigmoid-from-logits"]),
        (1, None, "binary_crossentropy", ["logits-as-probabilities"]),
        (3, "sigmoid", losses.sparse_categorical_crossentropy, ["sigmoid-single-label"]),
        (1, None, keras_duo.Focal(from_logits=True), []),
        (3, "softmax", keras_duo.SparseCategoricalFocal(), []),
    ],
)
def test_same_after_reload(tmp_path, units, activation, loss, expected):
    for build in BUILDERS:
        model = build(units, activation)
        before = codes(model, loss)
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert codes(loaded) == before == expected


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
        ],
    )
    def test_step(self, step, expected):
        assert codes(functional(3, None, [step]), self.BCE) == expected

    @pytest.mark.parametrize(
        "step",
        [
            layers.Reshape((3, 1)),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Identity(),
            layers.ActivityRegularization(1e-3),
            layers.RepeatVector(2),
            keras.Sequential([keras.Input((3,)), layers.Dropout(0.5)]),
        ],
    )
    def test_walks_through(self, step):
        assert codes(functional(3, "sigmoid", [step]), self.FROM_LOGITS) == ["sigmoid-from-logits"]
        assert codes(functional(3, "sigmoid", [step]), self.BCE) == []

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
        assert codes(through(layers.LSTM(2)), self.BCE) == ["tanh-probability"]
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

    def test_input_as_output(self):
        inputs = keras.Input((3,))
        assert codes(keras.Model(inputs, inputs), self.BCE) == ["unknown-output"]


class TestSeveralOutputs:
    def model(self, names=("a", "b")):
        inputs = keras.Input((4,))
        return keras.Model(
            inputs, [layers.Dense(1, name=names[0])(inputs), layers.Dense(3, name=names[1])(inputs)]
        )

    @pytest.mark.parametrize(
        ("loss", "wrong"),
        [
            ("bce", ["a", "b"]),
            (["mse", "bce"], ["b"]),
            (("bce", "mse"), ["a"]),
            ({"a": "bce", "b": "mse"}, ["a"]),
            ({"a": "bce", "b": None}, ["a"]),
            (["mse", None], []),
            ([["mse", "bce"], "mse"], ["a"]),
        ],
    )
    def test_each_on_its_own(self, loss, wrong):
        model = self.model()
        assert codes(model, loss) == ["logits-as-probabilities"] * len(wrong)
        where = [finding.where for finding in check(model)]
        assert where == [f"output {name!r} (layer {name!r})" for name in wrong]

    def test_dictionary_of_outputs(self):
        inputs = keras.Input((4,))
        outputs = {"z": layers.Dense(1, name="p")(inputs), "a": layers.Dense(1, "sigmoid")(inputs)}
        model = keras.Model(inputs, outputs)
        assert codes(model, {"z": "bce", "a": "bce"}) == ["logits-as-probabilities"]
        assert "output 'z' (layer 'p')" in str(check(model)[0])
        assert codes(model, {"a": "bce"}) == []

    @pytest.mark.parametrize("loss", [["mse", "mae"], ("mse", losses.MeanAbsoluteError())])
    def test_one_output_many_losses(self, loss):
        model = functional(1, None)
        assert codes(model, loss) == ["one-output-many-losses"]
        x, y = np.ones((4, 4)), np.full((4, 1), 3.0)
        together = model.evaluate(x, y, verbose=0, return_dict=True)["loss"]
        model.compile("sgd", loss="mse")
        assert together == pytest.approx(model.evaluate(x, y, verbose=0))


class TestUnknown:
    @pytest.mark.parametrize(
        "loss",
        [
            lambda y, p: ops.mean(p - y),
            functools.partial(losses.binary_crossentropy, from_logits=True),
            type("Mine", (losses.BinaryCrossentropy,), {}),
            type("Mine", (losses.BinaryCrossentropy,), {})(),
            "no_such_loss",
        ],
    )
    def test_loss(self, loss):
        model = functional(1, None)
        assert codes(model, loss) == ["unknown-loss"]
        assert check(model)[0].severity == "unknown"

    def test_not_compiled(self):
        assert codes(functional(1, None)) == ["not-compiled"]

    def test_compiled_without_loss(self):
        assert codes(functional(1, None), None) == ["unknown-loss"]

    def test_own_step(self):
        class Own(keras.Model):
            def compute_loss(self, *args, **kwargs):
                return super().compute_loss(*args, **kwargs)

        inputs = keras.Input((4,))
        assert codes(Own(inputs, layers.Dense(1)(inputs)), "bce") == ["unknown-loss"]

    def test_own_call(self):
        class Own(keras.Model):
            def __init__(self):
                super().__init__()
                self.head = layers.Dense(1)

            def call(self, x):
                return self.head(x)

        model = Own()
        assert codes(model, "bce") == ["unknown-output"]
        model(np.zeros((1, 4)))
        assert codes(model) == ["unknown-output"]
        inputs = keras.Input((4,))
        assert codes(keras.Model(inputs, model(inputs)), "bce") == ["unknown-output"]

    def test_sequential_that_is_not_built(self):
        model = keras.Sequential([layers.Dense(1)])
        assert codes(model, "bce") == ["unknown-output"]
        model(np.zeros((1, 4)))
        assert codes(model) == ["logits-as-probabilities"]


@pytest.mark.parametrize("model", [None, "model", layers.Dense(1)])
def test_argument(model):
    with pytest.raises(TypeError, match=r"^`model` must be a keras.Model. Received: "):
        check(model)


def test_finding():
    warning, error = (
        Finding(severity, "code", "where", "problem", "consequence", "fix")
        for severity in ("warning", "error")
    )
    assert sorted([warning, error]) == [error, warning]
    assert warning == Finding(**warning.to_dict())
    assert warning != error
    assert json.loads(json.dumps(error.to_dict()))["severity"] == "error"
    assert str(error).splitlines()[0] == "error: code: where"


def test_most_severe_first():
    inputs = keras.Input((4,))
    outputs = [
        layers.Lambda(ops.abs)(inputs),
        layers.Dense(2, "softmax")(inputs),
        layers.Dense(2)(inputs),
    ]
    model = keras.Model(inputs, outputs)
    model.compile(loss="bce")
    severities = [finding.severity for finding in check(model)]
    assert severities == ["error", "warning", "unknown"]
    assert set(severities) <= set(SEVERITIES)


def test_changes_nothing_and_is_fast():
    steps = [layers.Dense(4, activation="relu") for _ in range(50)]
    model = keras.Sequential([keras.Input((4,)), *steps, layers.Dense(1)])
    model.compile("adam", loss="bce")
    model.fit(np.ones((4, 4)), np.ones((4, 1)), verbose=0)
    state = [model.get_config(), model.get_compile_config(), model.optimizer.get_config()]
    variables = [v.numpy() for v in (*model.variables, *model.optimizer.variables)]
    functions = model.train_function, model.loss, len(model.layers[-1]._inbound_nodes)
    start = time.perf_counter()
    assert codes(model) == ["logits-as-probabilities"]
    assert time.perf_counter() - start < 0.5
    assert state == [model.get_config(), model.get_compile_config(), model.optimizer.get_config()]
    assert functions == (model.train_function, model.loss, len(model.layers[-1]._inbound_nodes))
    for before, after in zip(
        variables, (*model.variables, *model.optimizer.variables), strict=True
    ):
        np.testing.assert_array_equal(before, after.numpy())


def value_and_gradient(loss, label, output):
    output = tf.constant(output, "float32")
    with tf.GradientTape() as tape:
        tape.watch(output)
        value = loss(tf.constant(label), output)
    return float(value), tape.gradient(value, output).numpy()


class TestConsequences:
    """The figures in the texts, measured."""

    @pytest.mark.filterwarnings("ignore:You are using a softmax over axis:UserWarning")
    def test_softmax_one_unit(self):
        model = functional(1, "softmax")
        x = np.random.default_rng(0).normal(size=(16, 4))
        np.testing.assert_array_equal(model.predict(x, verbose=0), 1)
        model.compile(keras.optimizers.SGD(1.0), loss="bce")
        y = (x[:, :1] > 0).astype("float32")
        values = model.fit(x, y, epochs=20, verbose=0).history["loss"]
        assert values[-1] < 0.7 * values[0]
        np.testing.assert_array_equal(model.predict(x, verbose=0), 1)

    @pytest.mark.parametrize("loss", [losses.BinaryCrossentropy(), losses.KLDivergence()])
    @pytest.mark.parametrize("output", [-0.5, 1.5])
    def test_clipped_on_both_sides(self, loss, output):
        value, gradient = value_and_gradient(loss, [[1.0]], [[output]])
        assert gradient == 0
        assert value == pytest.approx(16.118 if output < 0 else 0, abs=1e-3)

    @pytest.mark.parametrize("loss", [losses.BinaryFocalCrossentropy(), keras_duo.Focal()])
    @pytest.mark.parametrize(("label", "output"), [(1.0, 1.5), (0.0, -0.5)])
    def test_clipped_on_one_side(self, loss, label, output):
        assert abs(value_and_gradient(loss, [[label]], [[output]])[1]) < 1e-6

    @pytest.mark.parametrize(
        ("loss", "label"),
        [
            (losses.CategoricalCrossentropy(), [[1.0, 0.0, 0.0]]),
            (losses.SparseCategoricalCrossentropy(), [0]),
        ],
    )
    def test_negative_share(self, loss, label):
        value, gradient = value_and_gradient(loss, label, [[-1.0, 2.0, 1.0]])
        assert value > 16
        assert not gradient.any()

    def test_rectified(self):
        value, gradient = value_and_gradient(losses.BinaryCrossentropy(), [[1.0]], [[0.0]])
        assert (value, gradient) == (pytest.approx(16.118, abs=1e-3), 0)
        value, gradient = value_and_gradient(
            losses.CategoricalCrossentropy(), [[1.0, 0.0]], [[0.0, 0.0]]
        )
        assert np.isnan(value)
        assert np.isnan(gradient).all()

    def test_log_probabilities_are_inverted(self):
        value, _ = value_and_gradient(
            losses.CategoricalCrossentropy(), [[1.0, 0.0]], np.log([[0.1, 0.9]])
        )
        share = np.log(0.1) / np.log(0.1 * 0.9)
        assert value == pytest.approx(-np.log(share), rel=1e-5)
        assert share > 0.9

    @pytest.mark.filterwarnings("ignore:In loss categorical_:SyntaxWarning")
    def test_one_class(self):
        for loss in (losses.CategoricalFocalCrossentropy(), losses.SparseCategoricalCrossentropy()):
            label = [0] if "Sparse" in type(loss).__name__ else [[1.0]]
            value, gradient = value_and_gradient(loss, label, [[0.3]])
            assert (value, gradient) == (pytest.approx(0, abs=1e-6), 0)

    def test_sigmoid_from_logits(self):
        # A constant carries no logits, as on JAX and torch: the sigmoid is applied twice.
        loss = losses.BinaryCrossentropy(from_logits=True)

        def slope(logit, twice):
            z = tf.constant([[logit]])
            with tf.GradientTape() as tape:
                tape.watch(z)
                value = loss(tf.constant([[1.0]]), 1 / (1 + tf.exp(-z)) if twice else z)
            return float(tape.gradient(value, z)[0, 0])

        assert slope(0.0, False) / slope(0.0, True) == pytest.approx(5.3, abs=0.1)
        assert slope(-4.0, False) / slope(-4.0, True) == pytest.approx(112, abs=1)
        assert ops.sigmoid(0.0) == 0.5
        assert float(ops.sigmoid(1.0)) == pytest.approx(0.731, abs=1e-3)

    def test_repaired_on_tensorflow(self):
        x, y = np.eye(4, dtype="float32"), np.array([[1.0], [0], [1], [0]])

        def trained(loss):
            keras.utils.set_random_seed(0)
            model = functional(1, "sigmoid")
            model.compile("sgd", loss=loss)
            return model.fit(x, y, epochs=3, verbose=0).history["loss"]

        with pytest.warns(UserWarning, match="from_logits=True"):
            repaired = trained(losses.BinaryCrossentropy(from_logits=True))
        assert repaired == trained(losses.BinaryCrossentropy())
        focal = trained(losses.BinaryFocalCrossentropy(from_logits=True))
        assert focal != trained(losses.BinaryFocalCrossentropy())

    def test_softmax_from_logits(self):
        model = functional(10, "softmax")
        model.compile(loss=losses.CategoricalCrossentropy(from_logits=True))
        label = np.eye(10, dtype="float32")[:1]
        floor, _ = value_and_gradient(model.loss, label, label)
        assert f"above {floor:.3f}" in check(model)[0].consequence
        assert f"probability {np.exp(-floor):.3f}" in check(model)[0].consequence

    def test_bounded_and_rectified_logits(self):
        binary = losses.BinaryCrossentropy(from_logits=True)
        assert value_and_gradient(binary, [[1.0]], [[1.0]])[0] == pytest.approx(0.313, abs=1e-3)
        assert value_and_gradient(binary, [[0.0]], [[0.0]])[0] == pytest.approx(0.693, abs=1e-3)
        model = functional(10, "tanh")
        model.compile(loss=losses.CategoricalCrossentropy(from_logits=True))
        best = float(ops.max(ops.softmax(2 * np.eye(10, dtype="float32")[0] - 1)))
        assert f"probability {best:.3f}" in check(model)[0].consequence

    def test_lower_bounds_of_activations(self):
        from keras_duo._output_end import _ACTIVATIONS

        x = np.linspace(-200, 200, 400_001, dtype="float32")
        for name, (_, low, high) in _ACTIVATIONS.items():
            y = np.asarray(keras.activations.get(name)(x))
            assert low <= y.min(), name
            assert y.max() <= high, name
            if np.isfinite(low):
                assert y.min() <= low + 1e-2, name

    def test_sigmoid_single_label(self):
        # The crossentropies take the logits behind the sigmoid as those of a softmax.
        x, y = np.eye(4, dtype="float32"), np.eye(4, dtype="float32")[:, :3]
        model = functional(3, "sigmoid")
        logits = keras.Model(model.input, ops.matmul(model.input, model.layers[-1].kernel))
        model.compile(loss=losses.CategoricalCrossentropy())
        expected = losses.CategoricalCrossentropy(from_logits=True)(y, logits(x))
        assert model.evaluate(x, y, verbose=0) == pytest.approx(float(expected), rel=1e-5)
        assert not np.allclose(model.predict(x, verbose=0).sum(-1), 1)


def test_every_loss_of_ours_is_known():
    public = {getattr(keras_duo, name) for name in keras_duo.losses.__all__}
    ours = {c for c in public if isinstance(c, type) and issubclass(c, losses.Loss)}
    assert ours - set(sys.modules["keras_duo.check"]._FAMILIES) == {
        keras_duo.MultiObjective
    }  # looked into


def test_documentation_names_every_code():
    page = (Path(__file__).parents[1] / "docs" / "check.md").read_text(encoding="utf-8")
    headings = re.findall(r"^### `([a-z-]+)`", page, re.MULTILINE)
    assert len(headings) == len(set(headings))
    assert set(headings) == CODES


def test_every_rule_is_tested():
    tested = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{code}"' in tested for code in CODES)

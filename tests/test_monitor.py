"""ActivationMonitor: the statistics on networks made by hand, and what a run with it looks like."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_duo
from keras_duo.monitor import (
    ActivationMonitor,
    dead_share,
    gradient_norm,
    saturated_share,
    silent_share,
)
from tests.backend import BACKEND, numpy

RNG = np.random.default_rng(0)
X = RNG.normal(size=(128, 4)).astype("float32")
Y = (X.sum(axis=1, keepdims=True) > 0).astype("float32")


@pytest.fixture(autouse=True)
def _same_numbers():
    """A test draws the same numbers whichever tests ran before it."""
    RNG.bit_generator.state = np.random.default_rng(1).bit_generator.state


def hidden(activation="relu", biases=(0.0,) * 8, name="hidden", **kwargs):
    """A Dense layer of which the biases say which units are dead."""
    bias = keras.initializers.Constant(list(biases))
    return layers.Dense(len(biases), activation, bias_initializer=bias, name=name, **kwargs)


def network(*middle, output=None, **compiled):
    output = layers.Dense(1, "sigmoid", name="output") if output is None else output
    model = keras.Sequential([keras.Input((4,)), *middle, output])
    model.compile(**{"optimizer": "sgd", "loss": "binary_crossentropy", **compiled})
    return model


def watched(model, x=X, y=Y, **arguments):
    """A monitor after one measurement, outside `fit` and without a graph, which takes a while."""
    model.run_eagerly = True
    monitor = ActivationMonitor(x, y, verbose=False, **arguments)
    monitor.set_model(model)
    monitor.on_train_begin()
    monitor.on_epoch_end(0)
    return monitor


def measured(model, *args, **kwargs):
    return {key: values[0] for key, values in watched(model, *args, **kwargs).history.items()}


def trained(model, x=X, y=Y, *, epochs=1, **arguments):
    """The monitor and the history of a training run."""
    monitor = ActivationMonitor(x, y, **{"verbose": False, **arguments})
    history = model.fit(x, y, batch_size=32, epochs=epochs, verbose=0, callbacks=[monitor])
    return monitor, history.history


class TestStatistics:
    """The pure functions, on figures that can be counted."""

    def test_a_unit_is_dead_if_it_is_active_on_no_example(self):
        slopes = np.zeros((5, 4))
        slopes[0, 0] = slopes[3, 1] = 1.0
        slopes[4, 2] = 5e-4
        assert float(dead_share(slopes)) == 0.5
        assert float(dead_share(slopes, tolerance=0.0)) == 0.25
        assert float(dead_share(-slopes)) == 0.5

    def test_a_unit_is_a_channel(self):
        maps = np.zeros((2, 3, 5, 7), "float32")
        maps[1, 2, 4, 6] = 1.0
        assert float(dead_share(maps)) == pytest.approx(6 / 7)
        assert float(dead_share(maps, axis=1)) == pytest.approx(2 / 3)

    def test_silent_units_are_those_that_too_few_examples_did_not_meet(self):
        rates = np.repeat([0.5, 0.02], 500)
        active = (RNG.random((64, 1000)) < rates).astype("float32")
        dead = np.concatenate([active, np.zeros((64, 250))], axis=1)
        assert float(dead_share(active)) == pytest.approx(0.5 * 0.98**64, abs=0.03)
        assert float(dead_share(active)) == pytest.approx(float(silent_share(active)), abs=0.03)
        difference = float(dead_share(dead)) - float(silent_share(dead))
        assert difference == pytest.approx(0.2, abs=0.03)

    def test_one_example_cannot_tell(self):
        assert float(silent_share(np.float32([[1, 0] * 10]))) >= 0.5

    def test_saturated_outputs_are_at_either_end(self):
        x = np.float32([-9.0, -2.0, 0.0, 2.0, 9.0])
        assert float(saturated_share(1 - np.tanh(x) ** 2, steepest=1.0)) == pytest.approx(0.4)
        assert float(saturated_share(np.zeros(5), steepest=0.0)) == 0.0

    def test_the_gradient_norm_does_not_depend_on_how_often_an_example_is_there(self):
        gradients = RNG.normal(size=(6, 3, 2))
        expected = np.sqrt((gradients**2).sum() / 6)
        assert float(gradient_norm(gradients)) == pytest.approx(expected, rel=1e-6)
        assert float(gradient_norm(np.tile(gradients, (4, 1, 1)))) == pytest.approx(expected, 1e-6)

    def test_half_precision_does_not_overflow(self):
        assert float(gradient_norm(np.full((2, 4), 300, "float16"))) == pytest.approx(600)


class TestOnANetworkMadeByHand:
    DEAD = (-1e3,) * 5 + (0.0,) * 3

    @pytest.mark.parametrize(
        "activation",
        ["relu", "gelu", "silu", "elu", "relu6", keras_duo.LearnableActivation],
    )
    def test_the_dead_units_are_counted(self, activation):
        activation = activation if isinstance(activation, str) else activation("relu")
        figures = measured(network(hidden(activation, self.DEAD)))
        assert figures["dead/hidden"] == 5 / 8
        assert figures["saturated/hidden"] == 0.0

    @pytest.mark.parametrize(
        ("layer", "arguments"),
        [
            (layers.Activation, {"activation": "relu"}),
            (layers.ReLU, {}),
            (layers.PReLU, {}),
            (keras_duo.LearnableActivation, {"activation": "relu", "axis": -1}),
        ],
    )
    def test_an_activation_of_its_own_is_a_layer(self, layer, arguments):
        figures = measured(network(hidden(None, self.DEAD), layer(name="act", **arguments)))
        assert figures["dead/act"] == 5 / 8
        assert "dead/hidden" not in figures

    @pytest.mark.parametrize("activation", ["leaky_relu", "linear"])
    def test_what_is_flat_nowhere_is_never_dead(self, activation):
        figures = measured(network(hidden(activation, self.DEAD)), layers=["hidden"])
        assert figures["dead/hidden"] == 0.0

    @pytest.mark.parametrize(
        "activation",
        ["sigmoid", "tanh", "hard_sigmoid", "hard_tanh", keras_duo.LearnableActivation],
    )
    def test_the_saturated_outputs_are_counted(self, activation):
        activation = activation if isinstance(activation, str) else activation("tanh")
        layer = hidden(activation, (-1e3, 1e3, 0, 0), kernel_initializer="zeros")
        figures = measured(network(layer))
        assert figures["saturated/hidden"] == 0.5

    def test_channels_of_a_convolution(self):
        bias = keras.initializers.Constant([-1e3, 0.0, 1.0, 2.0])
        convolution = layers.Conv2D(4, 2, activation="relu", bias_initializer=bias, name="hidden")
        model = network(layers.Reshape((2, 2, 1)), convolution, layers.Flatten())
        assert measured(model)["dead/hidden"] == 0.25

    def test_gradient_mean_and_ratio(self):
        model = network(
            hidden("relu", (0.0, 0.5)),
            layers.Dropout(0.5),
            hidden("tanh", (0.0, 0.1, 0.2), name="second"),
            output=layers.Dense(1, name="output"),
            loss="mse",
        )
        figures = measured(model)
        (w1, b1), _, (w2, b2), (w3, b3) = (layer.get_weights() for layer in model.layers)
        s1 = X @ w1 + b1
        h2 = np.tanh(np.maximum(s1, 0) @ w2 + b2)
        d3 = 2 * (h2 @ w3 + b3 - Y)
        d2 = d3 @ w3.T * (1 - h2**2)
        d1 = d2 @ w2.T * (s1 > 0)
        for name, gradient in (("hidden", d1), ("second", d2), ("output", d3)):
            norm = np.sqrt((gradient**2).sum() / len(X))
            assert figures[f"gradient/{name}"] == pytest.approx(norm, rel=1e-4), name
        assert figures["mean/second"] == pytest.approx(h2.mean(), abs=1e-6)
        ratio = np.sqrt((d1**2).sum() / (d3**2).sum())
        assert figures["gradient_ratio"] == pytest.approx(ratio, rel=1e-4)

    def test_without_labels_the_gradient_is_that_of_the_outputs(self):
        model = network(hidden("relu", (0.0, 0.5)), output=layers.Dense(3, "softmax"), loss="mse")
        figures = measured(model, y=None)
        (kernel, bias), (last, _) = (layer.get_weights() for layer in model.layers)
        # The mean square of a product with random signs is the squared Frobenius norm.
        expected = (((X @ kernel + bias) > 0) * (last**2).sum(axis=1)).sum(axis=1).mean() ** 0.5
        assert figures["gradient/hidden"] == pytest.approx(expected, rel=0.2)

    def test_an_activation_that_looks_at_its_whole_input(self):
        def centred(x):
            # The slopes of all outputs with respect to one input sum to 0, its own is 1 - 1 / 32.
            return x - ops.mean(x, axis=-1, keepdims=True)

        figures = measured(network(hidden(centred, (0.0,) * 32)))
        assert figures["dead/hidden"] == figures["saturated/hidden"] == 0.0


def functional():
    inputs = keras.Input((4,), name="in")
    inner = keras.Sequential([keras.Input((8,)), hidden(name="inside")], name="inner")
    x = layers.Dropout(0.5)(inner(hidden()(inputs)))
    return keras.Model(inputs, layers.Dense(1, "sigmoid", name="output")(x))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.blocks = hidden(), [hidden(name="inside")]
        self.drop, self.last = layers.Dropout(0.5), layers.Dense(1, "sigmoid", name="output")

    def call(self, x, training=None):
        x = self.blocks[0](self.first(x))
        return self.last(self.drop(layers.Activation("linear")(x), training=training))


class TestInTraining:
    @pytest.mark.parametrize(
        ("build", "compiled"), [(functional, {}), (Subclassed, {"run_eagerly": True})]
    )
    def test_any_model(self, build, compiled):
        model = build()
        model.compile("adam", "binary_crossentropy", **compiled)
        _, history = trained(model, epochs=3)
        for kind in ("dead", "saturated", "mean", "gradient"):
            names = [key.partition("/")[2] for key in history if key.startswith(f"{kind}/")]
            assert names == ["hidden", "inside", "output"]
            for name in names:
                assert len(history[f"{kind}/{name}"]) == 3
        assert len(history["gradient_ratio"]) == 3
        assert len(set(history["gradient/hidden"])) == 3

    def test_half_precision_and_xla(self):
        keras.config.set_dtype_policy("mixed_float16")
        biases = TestOnANetworkMadeByHand.DEAD
        output = layers.Dense(1, "sigmoid", dtype="float32")
        _, history = trained(network(hidden(biases=biases), output=output, jit_compile=True))
        assert history["dead/hidden"] == [5 / 8]
        assert history["gradient/hidden"][0] > 0

    def test_nothing_changes_by_watching(self):
        def run(callbacks):
            keras.utils.set_random_seed(1)
            inputs = keras.Input((4,))
            x = hidden(activity_regularizer="l2", kernel_regularizer="l2")(inputs)
            x = layers.Dropout(0.5)(layers.GaussianNoise(0.1)(layers.BatchNormalization()(x)))
            # Keras keeps a mean of the loss of each output, and updates it in `compute_loss`.
            model = keras.Model(inputs, [layers.Dense(1, "sigmoid", name=n)(x) for n in "ab"])
            model.compile(keras.optimizers.Adam(0.01), ["mse", "bce"], metrics=[["mae"], []])
            y = [Y, Y]
            history = model.fit(X, y, batch_size=32, epochs=2, verbose=0, callbacks=callbacks)
            return model, history.history

        plain, plain_history = run([])
        other, history = run([ActivationMonitor(X, [Y, Y], every=1, verbose=False)])
        for a, b in zip(plain.variables, other.variables, strict=True):
            np.testing.assert_array_equal(numpy(a.value), numpy(b.value))
        for a, b in zip(plain.optimizer.variables, other.optimizer.variables, strict=True):
            np.testing.assert_array_equal(numpy(a.value), numpy(b.value))
        assert {key: history[key] for key in plain_history} == plain_history
        assert other.get_layer("hidden").activation is keras.activations.relu
        assert [len(a._layers) for a in other.layers] == [len(a._layers) for a in plain.layers]

    def test_the_model_is_restored_after_an_error(self):
        class Broken(layers.Layer):
            def call(self, x):
                if x.shape[0] == 7:
                    raise RuntimeError("seven")
                return x

        model = network(hidden(), layers.ReLU(name="own"), Broken())
        with pytest.raises(RuntimeError, match="seven"):
            watched(model, X[:7], Y[:7])
        assert model.layers[0].activation is keras.activations.relu
        assert "call" not in vars(model.layers[1])

    def test_it_is_traced_once_for_each_fit(self):
        traces = []

        def noted(x):
            traces.append(x.shape[0])
            return ops.relu(x)

        model = network(hidden(noted))
        for fits in (1, 2):
            trained(model, epochs=2, every=1)
            # JAX looks at the shapes in a pass of its own.
            assert traces.count(len(X)) == fits * (2 if BACKEND == "jax" else 1)

    def test_every_so_many_steps(self):
        monitor, history = trained(network(hidden()), epochs=2, every=3)
        assert monitor.history["step"] == [3, 4, 6, 8]
        assert history["dead/hidden"] == [monitor.history["dead/hidden"][i] for i in (1, 3)]
        model = network(hidden(), steps_per_execution=2)
        assert trained(model, epochs=2, every=3)[0].history["step"] == [4, 6, 8]

    def test_later_callbacks_see_the_figures(self):
        stop = keras.callbacks.EarlyStopping(monitor="dead/hidden", patience=1, mode="min")
        monitor = ActivationMonitor(X, Y, verbose=False)
        history = network(hidden()).fit(X, Y, epochs=9, verbose=0, callbacks=[monitor, stop])
        assert len(history.epoch) == 2

    def test_further_fits_go_on(self):
        model = network(hidden())
        monitor = ActivationMonitor(X, Y, verbose=False)
        for loss in ("mse", "binary_crossentropy"):
            model.compile("sgd", loss)
            model.fit(X, Y, verbose=0, callbacks=[monitor])
        first, second = monitor.history["gradient/output"]
        assert second > 1.5 * first

    @pytest.mark.skipif(BACKEND != "tensorflow", reason="the file is read with TensorFlow")
    def test_tensorboard(self, tmp_path):
        from tensorflow.python.summary.summary_iterator import summary_iterator

        _, history = trained(network(hidden()), epochs=2, log_dir=tmp_path)
        (file,) = tmp_path.iterdir()
        written = {
            (value.tag, event.step)
            for event in summary_iterator(str(file))
            for value in event.summary.value
        }
        expected = {key for key in history if "/" in key} | {"gradient_ratio"}
        assert written == {(key, step) for key in expected for step in (0, 1)}


class TestLayers:
    def test_by_name_by_object_and_by_what_they_are_in(self):
        model = functional()
        model.compile("sgd", "binary_crossentropy")

        def names(*chosen):
            figures = measured(model, layers=list(chosen))
            return [key[5:] for key in figures if key.startswith("mean/")]

        assert names("inside", model.get_layer("hidden")) == ["hidden", "inside"]
        assert names("inner") == ["inside"]
        assert names(model.get_layer("inner"), "output") == ["inside", "output"]

    def test_equal_names_are_told_apart(self):
        parts = [keras.Sequential([keras.Input((4,)), hidden("relu", (0,) * 4)]) for _ in "ab"]
        for part, name in zip(parts, "ab", strict=True):
            part.name = name
        figures = measured(network(*parts))
        assert [key for key in figures if key.startswith("dead")] == [
            "dead/a/hidden",
            "dead/b/hidden",
            "dead/output",
        ]

    def test_a_shared_layer_is_dead_where_no_call_wakes_it(self):
        inputs = keras.Input((4,))
        shared = hidden("relu", (0.0,) * 4, kernel_initializer="identity")
        outputs = layers.Dense(1, name="output")(shared(shared(inputs) - 1e3) + shared(inputs))
        model = keras.Model(inputs, outputs)
        model.compile("sgd", "mse")
        assert measured(model)["dead/hidden"] == 0.0

    @pytest.mark.parametrize("layer", [layers.LSTM, layers.GRU, layers.SimpleRNN])
    def test_recurrent_layers_are_measured_at_their_outputs(self, layer):
        steps = [layers.Reshape((4, 1)), layer(6, return_sequences=True, name="recurrent")]
        both = layers.Bidirectional(layer(3), name="both")
        figures = measured(network(*steps, both))
        assert figures["dead/recurrent"] == 0.0
        assert figures["saturated/recurrent"] < 0.05 < figures["gradient/recurrent"]
        assert len([key for key in figures if key.startswith("dead/")]) == 4

    def test_a_saturated_recurrent_layer(self):
        layer = layers.SimpleRNN(4, bias_initializer=keras.initializers.Constant([9, 9, 0, 0]))
        figures = measured(network(layers.Reshape((4, 1)), layer))
        assert figures[f"saturated/{layer.name}"] == pytest.approx(0.5, abs=0.1)
        assert figures[f"dead/{layer.name}"] == 0.5

    def test_inside_other_layers(self):
        model = network(
            layers.Reshape((4, 1)),
            layers.TimeDistributed(hidden("relu", TestOnANetworkMadeByHand.DEAD)),
            layers.GlobalAveragePooling1D(),
        )
        assert measured(model)["dead/hidden"] == 5 / 8

    def test_softmax_and_linear_have_no_units_of_their_own(self):
        inputs = keras.Input((4, 4))
        attended = layers.MultiHeadAttention(2, 4)(inputs, inputs)
        x = layers.Dense(3, "softmax", name="output")(layers.Flatten()(attended))
        model = keras.Model(inputs, x)
        model.compile("sgd", "mse")
        data = RNG.normal(size=(32, 4, 4)), np.eye(3)[RNG.integers(3, size=32)]
        keys = {"epoch", "mean/output", "gradient/output", "gradient_ratio"}
        assert set(measured(model, *data)) == keys


class TestSummary:
    def test_names_the_dead_layer_and_a_remedy(self, capsys):
        model = network(hidden(), hidden("relu", (-1e3,) * 5 + (0,) * 3, name="sick"))
        monitor, _ = trained(model, verbose=True)
        (message,) = monitor.summary()
        assert message.startswith("62 % of the units of sick are dead: lower the learning rate")
        assert capsys.readouterr().out == f"{message}\n"

    @pytest.mark.parametrize("activation", ["relu", "tanh"])
    def test_is_silent_on_a_healthy_network(self, activation, capsys):
        model = network(
            hidden(activation, (0.0,) * 32),
            hidden(activation, (0.0,) * 32, name="second"),
            optimizer=keras.optimizers.Adam(0.01),
        )
        monitor, history = trained(model, epochs=15, verbose=True)
        assert history["loss"][-1] < 0.5 * history["loss"][0]
        assert monitor.summary() == []
        assert capsys.readouterr().out == ""

    @pytest.mark.parametrize("examples", [2, 8, 32, 128])
    def test_is_silent_where_the_probe_is_too_small_to_tell(self, examples):
        # Each unit is active on about one example in fifty.
        layer = hidden("relu", (-2.05,) * 400)
        model = network(layer)
        for _ in range(3):
            kernel = RNG.normal(size=(4, 400))
            layer.kernel.assign(kernel / np.linalg.norm(kernel, axis=0))
            x = RNG.normal(size=(examples, 4)).astype("float32")
            monitor = watched(model, x, np.zeros((examples, 1), "float32"))
            assert monitor.history["dead/hidden"][0] > 0.03
            assert monitor.summary() == []

    def test_saturated_vanishing_exploding_and_broken(self):
        def messages(*middle, **kwargs):
            return watched(network(*middle, **kwargs)).summary()

        wide = {"kernel_initializer": keras.initializers.RandomNormal(stddev=50.0)}
        (saturated,) = messages(hidden("tanh", **wide))
        assert "of the outputs of hidden are saturated: scale the inputs" in saturated
        small = keras.initializers.RandomNormal(stddev=0.01)
        deep = [hidden("gelu", name=f"h{i}", kernel_initializer=small) for i in range(6)]
        (vanishing,) = messages(*deep, output=layers.Dense(1, name="output"), loss="mse")
        assert vanishing.startswith("The gradient at h0 is")
        assert "use relu or gelu" in vanishing
        deep = [hidden("leaky_relu", name=f"h{i}", **wide) for i in range(6)]
        (exploding,) = messages(*deep, output=layers.Dense(1, name="output"), loss="mse")
        assert "clip the gradient" in exploding
        (stuck,) = messages(hidden("tanh", (30.0,) * 4 + (0.0,) * 4))
        assert stuck.startswith("50 % of the units of hidden are dead: scale the inputs")
        (broken,) = messages(hidden("tanh", (np.nan,) * 8))
        assert broken.startswith("The outputs or the gradient of hidden are not finite")

    def test_a_confident_output_is_no_fault(self):
        output = layers.Dense(1, "sigmoid", kernel_initializer=keras.initializers.Constant(99.0))
        assert watched(network(hidden(), output=output)).summary() == []


class TestArguments:
    @pytest.mark.parametrize(
        ("arguments", "match"),
        [
            ({"x": [[1.0, 2.0]]}, "`x` must be an array"),
            ({"x": X, "y": Y[:5]}, "`x` and `y` must hold the same number"),
            ({"x": X, "every": 0}, "`every` must"),
            ({"x": X, "every": 1.5}, "`every` must"),
            ({"x": X, "every": True}, "`every` must"),
            ({"x": X, "layers": "hidden"}, "`layers` must be None or a list"),
            ({"x": X, "verbose": 2}, "`verbose` must"),
        ],
    )
    def test_bad_ones_are_named(self, arguments, match):
        with pytest.raises(ValueError, match=match):
            ActivationMonitor(**arguments)

    def test_an_unknown_layer_fails_before_training(self):
        model = network(hidden())
        before = model.get_weights()
        with pytest.raises(ValueError, match=r"are \['hidden', 'output'\]. Received: 'hiden'"):
            trained(model, layers=["hiden"])
        for a, b in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)

    @pytest.mark.filterwarnings("ignore:`build\\(\\)` was called:UserWarning")
    def test_a_layer_that_is_not_called(self):
        model = Subclassed()
        model.unused = hidden(name="unused")
        model(X)
        model.compile("sgd", "mse")
        assert "dead/unused" not in measured(model)
        with pytest.raises(ValueError, match=r"and that the model calls. Received: \['unused'\]"):
            measured(model, layers=["unused"])

    def test_several_inputs_and_outputs(self):
        a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
        x = hidden()(layers.Concatenate()([a, b]))
        outputs = {n: layers.Dense(1, "sigmoid", name=n)(x) for n in ("one", "two")}
        model = keras.Model({"a": a, "b": b}, outputs)
        model.compile("sgd", {"one": "mse", "two": "binary_crossentropy"})
        x, y = {"a": X, "b": X}, {"one": Y, "two": Y}
        _, history = trained(model, x, y, epochs=2)
        assert len(history["dead/hidden"]) == len(history["gradient/two"]) == 2
        assert measured(model, x, None)["gradient/hidden"] > 0

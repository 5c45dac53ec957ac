"""The probe: which data it takes, that the model stays as it is, and what an output tells."""

import copy

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, losses, ops

import keras_duo as duo
from keras_duo import check
from tests.check.ways import OwnModel, codes, functional

X = np.random.default_rng(0).normal(size=(100, 4)).astype("float32")
Y = (X[:, :1] > 0).astype("float32")
WRONG = Y - 1


class Batches(keras.utils.PyDataset):
    def __init__(self, *data):
        super().__init__()
        self.data = data
        self.taken = []

    def __len__(self):
        return 5

    def __getitem__(self, index):
        self.taken.append(index)
        return tuple(part[20 * index : 20 * index + 20] for part in self.data)


def binary_model():
    model = functional(layers.Dense(1, "sigmoid"))
    model.compile("sgd", loss="bce")
    return model


def two_by_two(dictionary):
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    outputs = [layers.Dense(1, "sigmoid", name="p")(a), layers.Dense(1, name="q")(b)]
    if dictionary:
        model = keras.Model({"a": a, "b": b}, dict(zip("pq", outputs, strict=True)))
        model.compile("sgd", loss={"p": "bce", "q": "mse"})
    else:
        model = keras.Model([a, b], outputs)
        model.compile("sgd", loss=["bce", "mse"])
    return model


class TestForms:
    @pytest.mark.parametrize(
        "data",
        [
            lambda y: (X, y),
            lambda y: (X.tolist(), y.tolist()),
            lambda y: (tf.constant(X), tf.constant(y)),
            lambda y: (ops.convert_to_tensor(X), y[:, 0]),
            lambda y: (tf.data.Dataset.from_tensor_slices((X, y)).batch(32),),
            lambda y: (tf.data.Dataset.from_tensor_slices((X, y, Y[:, 0])).batch(32),),
            lambda y: (Batches(X, y),),
            lambda y: (Batches(X, y, Y[:, 0]),),
            lambda y: (None, y),
        ],
    )
    def test_one_input_and_output(self, data):
        assert codes(binary_model(), "bce", *data(Y)) == []
        assert codes(binary_model(), "bce", *data(WRONG)) == ["labels-not-probabilities"]

    @pytest.mark.parametrize("dictionary", [False, True])
    def test_several_inputs_and_outputs(self, dictionary):
        model = two_by_two(dictionary)
        x = {"a": X, "b": X} if dictionary else [X, X]

        def labels(p, q):
            return {"p": p, "q": q} if dictionary else [p, q]

        for wrong, where in ((labels(WRONG, Y), "'p'"), (labels(Y, np.nan * Y), "'q'")):
            assert check(model, x, labels(Y, Y)) == []
            (finding,) = check(model, x, wrong)
            assert f"output {where}" in finding.where
            dataset = tf.data.Dataset.from_tensor_slices(
                (x if dictionary else tuple(x), wrong if dictionary else tuple(wrong))
            )
            assert [f.code for f in check(model, dataset.batch(32))] == [finding.code]

    def test_inputs_alone_and_labels_alone(self):
        model = functional(layers.Dense(1), layers.Lambda(ops.sigmoid))
        assert codes(model, "bce", X) == []
        assert codes(model, "bce", None, Y) == ["unknown-output"]

    def test_only_the_first_batch_is_taken(self):
        batches = Batches(X, Y)
        check(binary_model(), batches)
        assert batches.taken == [0]

    def test_few_examples(self):
        assert codes(binary_model(), "bce", X[:1], Y[:1]) == []

    def test_generator(self):
        generator = (batch for batch in [(X, Y)])
        with pytest.raises(
            TypeError, match=r"^`x` must be arrays, a tf.data.Dataset or .*Received"
        ):
            check(binary_model(), generator)
        assert next(generator)

    def test_sizes_differ(self):
        with pytest.raises(ValueError, match=r"^`x` and `y` must hold .* Received: \[99, 100\]"):
            check(binary_model(), X, Y[:99])

    def test_dataset_and_labels(self):
        with pytest.raises(ValueError, match=r"^`y` must be None where `x` is a dataset"):
            check(binary_model(), Batches(X, Y), Y)

    def test_names_of_classes(self):
        with pytest.raises(ValueError, match=r"^`y` must hold numbers; .*StringLookup"):
            check(binary_model(), X, np.where(Y > 0, "yes", "no"))


class TestModelStaysAsItIs:
    def model(self):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((4,))
        x = layers.BatchNormalization()(layers.Dense(8, "relu", activity_regularizer="l2")(inputs))
        x = layers.Dropout(0.5)(layers.GaussianNoise(0.1)(x))
        model = keras.Model(inputs, layers.Dense(1, "sigmoid")(x))
        model.compile("adam", loss=losses.BinaryCrossentropy(), metrics=["accuracy", "auc"])
        return model

    def test_in_all_its_state(self):
        model = self.model()
        model.fit(X, Y, verbose=0)
        model.evaluate(X[:50], Y[:50], verbose=0)

        def state():
            metrics = [v.numpy() for m in model.metrics for v in m.variables]
            variables = [v.numpy() for v in (*model.variables, *model.optimizer.variables)]
            configs = model.get_config(), model.get_compile_config(), model.optimizer.get_config()
            functions = model.train_function, model.test_function, model.predict_function
            nodes = [len(layer._inbound_nodes) for layer in model.layers]
            return copy.deepcopy((metrics, variables)), configs, functions, nodes

        before, random = state(), np.random.get_state()[1].copy()  # noqa: NPY002
        check(model)
        check(model, X, Y)
        after = state()
        for first, second in zip(before[0], after[0], strict=True):
            for a, b in zip(first, second, strict=True):
                np.testing.assert_array_equal(a, b)
        assert before[1:] == after[1:]
        np.testing.assert_array_equal(random, np.random.get_state()[1])  # noqa: NPY002

    def test_and_trains_on_as_if_it_had_not_been_checked(self):
        def trained(examine):
            model = self.model()
            examine(model)  # before anything of the training is built
            model.fit(X, Y, verbose=0)
            examine(model)
            history = model.fit(X, Y, epochs=2, verbose=0).history
            return model.get_weights(), history, float(keras.random.uniform(()))

        plain = trained(lambda model: None)
        checked = trained(lambda model: check(model, X, Y))
        for a, b in zip(plain[0], checked[0], strict=True):
            np.testing.assert_array_equal(a, b)
        assert plain[1:] == checked[1:]

    def test_stateful_layer(self):
        model = keras.Sequential(
            [keras.Input((5, 4), batch_size=4), layers.LSTM(3, stateful=True), layers.Dense(1)]
        )
        model.compile("sgd", loss="mse")
        check(model, np.ones((4, 5, 4), "float32"), np.ones((4, 1)))
        for state in model.layers[0].states:
            np.testing.assert_array_equal(state.numpy(), 0)


class TestOutputOfAModelThatCannotBeRead:
    """Its own `call` hides the graph; the values tell the rest."""

    def codes(self, kind, loss, labels=Y):
        model = OwnModel(kind)
        model(X[:1])
        return codes(model, loss, X, labels)

    LABELS = np.eye(3, dtype="float32")[np.arange(100) % 3]
    IDS = np.arange(100) % 3

    @pytest.mark.parametrize(
        ("kind", "loss", "expected"),
        [
            ("sigmoid", "bce", []),
            ("sigmoid", losses.BinaryCrossentropy(from_logits=True), ["sigmoid-from-logits"]),
            ("linear", losses.BinaryCrossentropy(from_logits=True), []),
            ("linear", "bce", ["logits-as-probabilities"]),
            ("softmax", losses.CategoricalCrossentropy(), []),
            ("softmax", losses.CategoricalCrossentropy(from_logits=True), ["softmax-from-logits"]),
            ("linear", losses.CategoricalCrossentropy(), ["logits-as-probabilities"]),
            ("hard_sigmoid", "bce", ["unknown-output"]),
            ("linear", "mse", []),
        ],
    )
    def test_is_told_by_its_values(self, kind, loss, expected):
        assert self.codes(kind, loss, self.LABELS) == expected

    def test_labels_are_judged_all_the_same(self):
        assert self.codes("softmax", "categorical_crossentropy", self.IDS) == [
            "ids-with-categorical-loss"
        ]

    def test_dictionary_of_outputs(self):
        class Two(keras.Model):
            def __init__(self):
                super().__init__()
                self.p, self.q = layers.Dense(1, "sigmoid"), layers.Dense(1)

            def call(self, x):
                return {"p": self.p(x), "q": self.q(x)}

        model = Two()
        model(X[:1])
        model.compile("sgd", loss={"p": "bce", "q": "mse"})
        assert check(model, X, {"p": Y, "q": Y}) == []
        (finding,) = check(model, X, {"p": WRONG, "q": Y})
        assert (finding.code, finding.where) == ("labels-not-probabilities", "output 'p'")

    def test_not_built(self):
        assert codes(OwnModel("sigmoid"), "bce", X, Y) == ["unknown-output"]


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_has_gradients(policy):
    keras.config.set_dtype_policy(policy)
    model = functional(layers.Dense(8, "relu"), layers.Dense(1, "sigmoid", dtype="float32"))
    assert codes(model, "bce", X, Y) == []


def test_masked_steps_do_not_count():
    inputs = keras.Input((5, 4))
    x = layers.LSTM(3, return_sequences=True)(layers.Masking()(inputs))
    model = keras.Model(inputs, layers.Dense(1, "sigmoid")(x))
    x = np.repeat(X[:, None], 5, axis=1)
    x[:, 3:] = 0
    assert codes(model, duo.Focal(), x, np.repeat(Y[:, None], 5, axis=1)) == []

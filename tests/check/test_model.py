"""What `check` makes of a model as a whole, and what a finding is."""

import functools
import json

import keras
import numpy as np
import pytest
from keras import layers, losses, ops

from keras_duo.check import CODES, SEVERITIES, Finding, check
from keras_duo.check._codes import RULES
from keras_duo.models import MetaLearner, MetaModel, MultiTask
from tests.backend import BACKEND
from tests.check.ways import codes, functional


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
        model = functional(layers.Dense(1))
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
            functools.partial(losses.binary_crossentropy, [1.0]),
            type("Mine", (losses.BinaryCrossentropy,), {}),
            type("Mine", (losses.BinaryCrossentropy,), {})(),
            "no_such_loss",
        ],
    )
    def test_loss(self, loss):
        model = functional(layers.Dense(1))
        assert codes(model, loss) == ["unknown-loss"]
        assert check(model)[0].severity == "unknown"

    def test_not_compiled(self):
        assert codes(functional(layers.Dense(1))) == ["not-compiled"]

    def test_compiled_without_loss(self):
        assert codes(functional(layers.Dense(1)), None) == ["unknown-loss"]

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


def test_codes_can_be_asked():
    assert CODES["softmax-one-unit"] == ("error",)
    assert CODES["hinge-labels"] == ("error", "advice")
    assert {rule.code for rule in RULES} < set(CODES)
    assert all(rule.severity in CODES[rule.code] for rule in RULES)


def test_fifty_layers_are_read_and_not_run(monkeypatch):
    steps = [layers.Dense(4, activation="relu") for _ in range(50)]
    model = functional(*steps, layers.Dense(1))
    model.compile("adam", loss="bce")

    def run(*args, **kwargs):
        raise AssertionError("a layer was called")

    monkeypatch.setattr(keras.layers.Layer, "__call__", run)
    monkeypatch.setattr(keras.Operation, "__call__", run)
    assert codes(model) == ["logits-as-probabilities"]


def test_a_multi_task_model_is_read_as_the_model_inside():
    entry = keras.Input((4,))
    outputs = {name: keras.layers.Dense(1, name=f"{name}_head")(entry) for name in ("a", "b")}
    model = MultiTask(keras.Model(entry, outputs))
    model.compile("adam", {"a": "mse", "b": "binary_crossentropy"}, weighting="inverse")
    optimizer = model.optimizer
    assert [(f.code, f.where) for f in check(model)] == [
        ("logits-as-probabilities", "output 'b' (layer 'b_head')")
    ]
    assert model.optimizer is optimizer


@pytest.mark.skipif(BACKEND != "tensorflow", reason="losses are learned on TensorFlow")
def test_a_model_whose_loss_learns_is_read_as_the_model_inside():
    def meta(activation):
        model = keras.Sequential(
            [keras.Input((4,)), keras.layers.Dense(3, activation, name="head")]
        )
        model = MetaModel(model, MetaLearner(), held_out=(np.ones((8, 4)), np.eye(8, 3)))
        model.compile("adam", metrics=["accuracy"])
        return model

    assert codes(meta("softmax")) == []
    assert codes(meta(None)) == ["logits-as-probabilities"]
    found = check(meta("softmax"), np.ones((8, 4)), np.arange(8.0)[:, None])
    assert (found[0].severity, found[0].where) == ("error", "output 'head' (layer 'head')")

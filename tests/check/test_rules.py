"""What `check` says of labels, metrics and a probe; and that every rule has a case."""

import keras
import numpy as np
import pytest
from keras import layers, losses, metrics, ops

import keras_duo as duo
from keras_duo import check
from keras_duo.check import _codes, _rule
from keras_duo.check._loss_table import loss_facts
from tests.check import test_pairs
from tests.check.ways import functional

rng = np.random.default_rng(0)
N = 200
X = rng.normal(size=(N, 4)).astype("float32")
POSITIVE = (X[:, :1] > 0).astype("float32")
SIGNS = 2 * POSITIVE - 1
IDS = np.arange(N) % 3
ONE_HOT = np.eye(3, dtype="float32")[IDS]
MULTI_HOT = np.array([[1, 1, 0], [0, 1, 0]] * (N // 2), dtype="float32")
NUMBERS = rng.normal(size=(N, 1)).astype("float32")
COUNTS = rng.poisson(3.0, (N, 1))
RARE = (np.arange(N) % 50 == 0).astype("float32")
LOGITS = losses.BinaryCrossentropy(from_logits=True)


class OwnLoss(losses.Loss):
    def call(self, y_true, y_pred):
        return ops.mean(ops.square(y_true - y_pred), axis=-1)


def two_outputs(y_true, y_pred):
    if y_pred.shape[-1] != 2:
        raise ValueError("two outputs")
    return ops.mean(y_pred, axis=-1)


def clipped(y_true, y_pred):
    return ops.mean(1 + ops.relu(-ops.square(y_true - y_pred)), axis=-1)


# (units, activation, loss, labels, codes)
LABELS = [
    (1, "sigmoid", "bce", POSITIVE, []),
    (1, "sigmoid", "bce", POSITIVE[:, 0], []),
    (1, "sigmoid", "bce", POSITIVE[:, 0].astype(bool), []),
    (1, "sigmoid", "bce", 0.9 * POSITIVE + 0.05, []),
    (3, "sigmoid", "bce", MULTI_HOT, []),
    (3, "sigmoid", "bce", ONE_HOT, []),
    (3, "softmax", "categorical_crossentropy", ONE_HOT, []),
    (3, "softmax", "categorical_crossentropy", 0.9 * ONE_HOT + 0.1 / 3, []),
    (3, "softmax", "categorical_crossentropy", np.where(IDS[:, None] == 1, 0, ONE_HOT), []),
    (3, "softmax", "kl_divergence", ONE_HOT, []),
    (3, "softmax", "sparse_categorical_crossentropy", IDS, []),
    (3, "softmax", "sparse_categorical_crossentropy", IDS[:, None].astype("float32"), []),
    (3, "softmax", losses.SparseCategoricalCrossentropy(ignore_class=-1), IDS - (IDS == 0), []),
    (3, "softmax", losses.CategoricalGeneralizedCrossEntropy(0.5), IDS, []),
    (3, "softmax", "ce", ONE_HOT, []),
    (3, "softmax", "ce", IDS, []),
    (1, None, "mse", NUMBERS, []),
    (1, None, "mse", NUMBERS[:, 0], []),
    (1, "relu", "mse", np.abs(NUMBERS), []),
    (1, "sigmoid", "mse", POSITIVE, []),
    (1, "exponential", "poisson", COUNTS, []),
    (1, None, losses.Hinge(), SIGNS, []),
    (3, None, losses.CategoricalHinge(), ONE_HOT, []),
    (1, None, duo.LSGAN(), POSITIVE, []),
    (1, None, duo.Quantile(0.9), NUMBERS, []),
    # Wrong ones.
    (1, "sigmoid", "bce", SIGNS, ["labels-not-probabilities"]),
    (1, "sigmoid", "bce", IDS, ["labels-not-probabilities"]),
    (1, None, duo.HingeGAN(), SIGNS, ["labels-not-probabilities"]),
    (3, "softmax", "categorical_crossentropy", IDS, ["ids-with-categorical-loss"]),
    (3, "softmax", duo.CategoricalFocal(), IDS[:, None], ["ids-with-categorical-loss"]),
    (3, "softmax", "kl_divergence", IDS[:, None], ["ids-with-categorical-loss"]),
    (3, "softmax", "sparse_categorical_crossentropy", ONE_HOT, ["one-hot-with-sparse-loss"]),
    (2, "softmax", "sparse_categorical_crossentropy", IDS, ["label-out-of-range"]),
    (3, "softmax", "sparse_categorical_crossentropy", IDS + 1, ["label-out-of-range"]),
    (3, "softmax", "sparse_categorical_crossentropy", IDS - 1, ["label-out-of-range"]),
    (3, "softmax", "sparse_categorical_crossentropy", IDS / 2, ["label-out-of-range"]),
    (3, "softmax", "categorical_crossentropy", MULTI_HOT, ["multi-hot-with-categorical-loss"]),
    (3, "softmax", "bce", MULTI_HOT, ["softmax-multi-label"]),
    (1, None, losses.Hinge(), POSITIVE, ["hinge-labels"]),
    (1, None, "squared_hinge", 0.9 * POSITIVE, ["hinge-labels"]),
    (1, "relu", "mse", NUMBERS, ["targets-out-of-reach"]),
    (1, "sigmoid", losses.Huber(), COUNTS, ["targets-out-of-reach"]),
    (1, "tanh", duo.Quantile(0.5), COUNTS, ["targets-out-of-reach"]),
    (1, "softplus", "poisson", NUMBERS, ["targets-out-of-reach", "negative-counts"]),
    (3, None, "mse", NUMBERS, ["label-shape"]),
    (3, None, "mse", NUMBERS[:, 0], ["label-shape"]),
    (3, "sigmoid", "bce", POSITIVE, ["label-shape"]),
    (3, None, "mae", np.zeros((N, 2)), ["label-shape"]),
    (1, None, OwnLoss(), NUMBERS[:, 0], ["label-shape", "unknown-loss"]),
    (1, None, OwnLoss(), NUMBERS, ["unknown-loss"]),
    (1, "sigmoid", "bce", RARE, ["imbalanced-labels"]),
    (2, "softmax", "sparse_categorical_crossentropy", RARE, ["imbalanced-labels"]),
    (3, "sigmoid", "bce", np.eye(3)[IDS] * RARE[:, None], ["imbalanced-labels"]),
    (1, "sigmoid", duo.Focal(), RARE, []),
    (1, "sigmoid", "bce", np.where(NUMBERS > 2, np.nan, POSITIVE), ["not-finite"]),
    # What the probe shows.
    (3, None, duo.Quantile([0.1, 0.5, 0.9]), NUMBERS, ["quantiles-cross"]),
    (4, None, duo.IoU(), np.tile([0.0, 0, 1, 1], (N, 1)), ["capped-loss"]),
    (4, None, duo.CIoU(), np.tile([0.0, 0, 1, 1], (N, 1)), []),
    (1, None, clipped, NUMBERS, ["zero-gradient", "unknown-loss"]),
    (1, None, two_outputs, NUMBERS, ["loss-fails", "unknown-loss"]),
]


def found(model, loss, *data, **arguments):
    model.compile("sgd", loss=loss, **arguments)
    return [finding.code for finding in check(model, *data)]


def dense(units, activation):
    keras.utils.set_random_seed(0)
    return functional(layers.Dense(units, activation))


@pytest.mark.parametrize(("units", "activation", "loss", "labels", "expected"), LABELS)
def test_labels(units, activation, loss, labels, expected):
    assert found(dense(units, activation), loss, X, labels) == expected


def test_all_labels_are_read_and_not_only_those_of_the_probe():
    labels = IDS.copy()
    labels[101] = 7  # between two examples of the probe
    finding, *_ = check(
        _compiled(dense(3, "softmax"), "sparse_categorical_crossentropy"), X, labels
    )
    assert finding.code == "label-out-of-range"
    assert finding.problem.startswith("1 of the labels, such as 7, are not ids")


def _compiled(model, loss):
    model.compile("sgd", loss=loss)
    return model


# (activation, loss, metric, labels or None, codes)
METRICS = [
    ("sigmoid", "bce", "accuracy", None, []),
    ("sigmoid", "bce", metrics.BinaryAccuracy(), None, []),
    ("sigmoid", "bce", metrics.AUC(), None, []),
    ("sigmoid", "bce", metrics.F1Score(threshold=0.5), None, []),
    (None, LOGITS, metrics.BinaryAccuracy(threshold=0.0), None, []),
    (None, LOGITS, metrics.AUC(from_logits=True), None, []),
    (None, LOGITS, metrics.BinaryCrossentropy(from_logits=True), None, []),
    (None, LOGITS, metrics.Precision(top_k=1), None, []),
    (None, "mse", "mae", None, []),
    (None, "mse", lambda y_true, y_pred: ops.mean(y_pred), None, []),
    (None, duo.LSGAN(), metrics.BinaryAccuracy(), None, []),
    (None, losses.Hinge(), metrics.Hinge(), SIGNS, []),
    (None, LOGITS, "accuracy", None, ["metric-threshold"]),
    (None, LOGITS, "binary_accuracy", None, ["metric-threshold"]),
    (None, LOGITS, metrics.binary_accuracy, None, ["metric-threshold"]),
    (None, LOGITS, metrics.BinaryAccuracy, None, ["metric-threshold"]),
    (None, LOGITS, metrics.Precision(), None, ["metric-threshold"]),
    (None, LOGITS, metrics.Recall(thresholds=[0.5]), None, ["metric-threshold"]),
    (None, LOGITS, metrics.F1Score(threshold=0.5), None, ["metric-threshold"]),
    (None, LOGITS, metrics.AUC(), None, ["metric-threshold"]),
    (None, LOGITS, "auc", None, ["metric-threshold"]),
    (None, losses.Hinge(), metrics.BinaryAccuracy(), None, ["metric-threshold"]),
    (None, losses.Hinge(), metrics.AUC(), None, ["metric-threshold"]),
    ("sigmoid", "bce", metrics.BinaryAccuracy(threshold=0.0), None, ["metric-threshold"]),
    (None, LOGITS, "binary_crossentropy", None, ["metric-from-logits"]),
    ("sigmoid", "bce", metrics.BinaryCrossentropy(from_logits=True), None, ["metric-from-logits"]),
    ("sigmoid", "bce", metrics.F1Score(), None, ["metric-one-unit"]),
    ("sigmoid", "bce", metrics.CategoricalAccuracy(), None, ["metric-one-unit"]),
    ("sigmoid", "bce", "sparse_categorical_accuracy", None, ["metric-one-unit"]),
    (None, losses.Hinge(), metrics.BinaryAccuracy(threshold=0.0), SIGNS, ["metric-labels"]),
    (None, losses.Hinge(), metrics.AUC(from_logits=True), SIGNS, ["metric-labels"]),
]
# The same on three units.
METRICS_OF_CLASSES = [
    ("softmax", "categorical_crossentropy", "accuracy", ONE_HOT, []),
    ("softmax", "sparse_categorical_crossentropy", "accuracy", IDS, []),
    ("softmax", "categorical_crossentropy", metrics.F1Score(), ONE_HOT, []),
    ("sigmoid", "bce", "accuracy", ONE_HOT, []),
    ("sigmoid", "bce", metrics.BinaryAccuracy(), MULTI_HOT, []),
    ("sigmoid", "bce", metrics.F1Score(threshold=0.5), MULTI_HOT, []),
    ("sigmoid", "bce", "acc", MULTI_HOT, ["metric-multi-label"]),
    ("sigmoid", "bce", metrics.F1Score(), MULTI_HOT, ["metric-multi-label"]),
    ("sigmoid", "bce", "accuracy", None, ["metric-multi-label"]),
    ("softmax", "sparse_categorical_crossentropy", "categorical_accuracy", IDS, ["metric-labels"]),
    ("softmax", "categorical_crossentropy", "sparse_categorical_accuracy", ONE_HOT,
     ["metric-labels"]),
    (None, losses.CategoricalCrossentropy(from_logits=True), metrics.AUC(), None,
     ["metric-threshold"]),
    (None, losses.CategoricalCrossentropy(from_logits=True), "categorical_crossentropy", None,
     ["metric-from-logits"]),
]  # fmt: skip
ALL_METRICS = [
    pytest.param(units, *case, id=f"{units}-{case[0]}-{index}")
    for units, cases in ((1, METRICS), (3, METRICS_OF_CLASSES))
    for index, case in enumerate(cases)
]


@pytest.mark.parametrize(
    ("units", "activation", "loss", "metric", "labels", "expected"), ALL_METRICS
)
@pytest.mark.parametrize("argument", ["metrics", "weighted_metrics"])
def test_metrics(units, activation, loss, metric, labels, expected, argument):
    assert found(dense(units, activation), loss, None, labels, **{argument: [metric]}) == expected


def test_metrics_of_several_outputs():
    inputs = keras.Input((4,))
    names = {"a": layers.Dense(1, name="a")(inputs), "b": layers.Dense(1, "sigmoid")(inputs)}
    for outputs, given in (
        (names, {"a": ["accuracy"]}),
        (list(names.values()), [["accuracy"], None]),
        (list(names.values()), [["accuracy", "mae"], ["accuracy"]]),
    ):
        model = keras.Model(inputs, outputs)
        assert found(model, [LOGITS, "bce"] if isinstance(outputs, list) else {
            "a": LOGITS, "b": "bce"}, metrics=given) == ["metric-threshold"]  # fmt: skip
        assert "output 'a'" in str(check(model)[0])


class TestTargetsOutOfReach:
    def test_says_how_many_and_where(self):
        model = _compiled(dense(1, "sigmoid"), "mse")
        labels = np.linspace(-1, 3, N)[:, None]
        (finding,) = check(model, X, labels)
        assert "75.0 % of the labels lie outside [0, 1], the range of sigmoid" in finding.problem
        assert (np.abs(labels - 0.5) > 0.5).mean() == 0.75

    def test_is_not_said_without_data_or_for_a_reachable_limit(self):
        model = _compiled(dense(1, "tanh"), "mse")
        assert check(model) == []
        assert check(model, X, np.where(NUMBERS > 0, 1.0, -1.0)) == []


def test_findings_say_what_the_probe_shows():
    model = _compiled(dense(1, None), "bce")
    (finding,) = check(model, X, POSITIVE)
    assert "probe examples have a loss of up to 16.1 and a gradient of exactly 0" in (
        finding.consequence
    )
    assert finding.code == check(model)[0].code
    assert "probe" not in check(model)[0].consequence


def test_a_head_that_starts_at_zero_is_left_alone():
    head = layers.Dense(1, "sigmoid", kernel_initializer="zeros")
    assert found(functional(layers.Dense(4, "relu"), head), "bce", X, POSITIVE) == []


def test_dead_units_before_the_head():
    dead = layers.Dense(4, "relu", bias_initializer=keras.initializers.Constant(-100.0))
    model = functional(dead, layers.Dense(1, "sigmoid"))
    assert found(model, "bce", X, POSITIVE) == ["constant-output"]


def test_frozen_model_says_nothing_of_gradients():
    model = dense(1, "sigmoid")
    model.trainable = False
    assert found(model, "bce", X, POSITIVE) == []


def test_nan_weights_are_seen():
    model = dense(1, "sigmoid")
    model.set_weights([np.full((4, 1), np.nan), np.zeros(1)])
    assert found(model, "bce", X, POSITIVE) == ["not-finite"]


class TestUntrackedWeights:
    def model(self, activation):
        return functional(layers.Dense(3, activation=activation), layers.Dense(1))

    def test_closures_globals_partials_and_methods(self):
        slope = keras.Variable(0.1)
        layer = layers.PReLU()
        layer.build((None, 3))
        for activation in (
            lambda x: ops.maximum(x, slope * x),
            lambda x: layer(x),
            layer.call,
        ):
            assert found(self.model(activation), "mse") == ["untracked-weights"]

    def test_layers_and_fixed_variables_are_fine(self):
        fixed = keras.Variable(0.1, trainable=False)
        for activation in (
            layers.PReLU(),
            duo.LearnableActivation(),
            duo.LearnableActivation("gelu", axis=-1),
            lambda x: ops.maximum(x, fixed * x),
            keras.activations.gelu,
        ):
            assert found(self.model(activation), "mse") == []

    def test_in_a_nested_model_and_a_wrapper(self):
        slope = keras.Variable(0.1)
        wrapped = layers.TimeDistributed(layers.Dense(2, activation=lambda x: slope * x))
        inner = functional(wrapped, shape=(5, 4))
        model = functional(inner, layers.Dense(1), shape=(5, 4))
        assert found(model, "mse") == ["untracked-weights"]


@pytest.mark.filterwarnings("ignore:You are using a softmax over axis:UserWarning")
def test_every_rule_has_a_case(monkeypatch):
    applied = set()
    plain = _rule.Rule.applies

    def applies(rule, pairing):
        does = plain(rule, pairing)
        applied.update([id(rule)] if does else [])
        return does

    monkeypatch.setattr(_rule.Rule, "applies", applies)
    for units, activation, spellings, expected in test_pairs.MATRIX:
        families = {_family(loss): loss for loss in spellings.values()}
        for loss in families.values() if expected else ():
            found(test_pairs.built(test_pairs.functional, units, activation), loss)
    for units, activation, loss, labels, expected in LABELS:
        if expected:
            found(dense(units, activation), loss, X, labels)
    for case in ALL_METRICS:
        units, activation, loss, metric, labels, expected = case.values
        if expected:
            found(dense(units, activation), loss, None, labels, metrics=[metric])
    for then in (ops.softmax, ops.sigmoid):
        for before in (ops.sigmoid, ops.tanh, ops.relu):
            found(functional(layers.Dense(3), before, then), "mse")
    normalized = functional(layers.Dense(3), layers.BatchNormalization())
    for loss in ("bce", "poisson"):
        found(normalized, loss)
    test_dead_units_before_the_head()
    test_nan_weights_are_seen()
    found(dense(1, None), _infinite, X, NUMBERS)
    found(dense(1, None), _clipped_here_and_there, X, NUMBERS)
    found(functional(layers.Dense(3, "sigmoid", dtype="mixed_float16")), "bce")
    found(functional(duo.QuantileHead([0.1, 0.9])), duo.Quantile([0.2, 0.8]))
    found(functional(layers.Permute((2, 1)), layers.Softmax(1), shape=(4, 4)), "ce")
    missing = [f"{r.code} {r.severity}: {r.problem}" for r in _codes.RULES if id(r) not in applied]
    assert missing == []


def _family(loss):
    facts = loss_facts(loss)
    return facts and (facts.family, facts.from_logits)


def _infinite(y_true, y_pred):
    return ops.mean(y_pred / 0.0, axis=-1)


def _clipped_here_and_there(y_true, y_pred):
    return ops.mean(1 + ops.relu(y_pred), axis=-1)

"""The table of pairs: what can be asked, what comes back, and whether every claim is true."""

import doctest
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from keras_duo import pairs as module
from keras_duo.pairs import Interval, Pair, pairs, recommend
from tests.backend import BACKEND, gradient, has_float64, numpy

UNITS, PIXELS = 4, 6
PAGE = Path(__file__).parent.parent / "docs" / "pairs.md"

on_tensorflow = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="only there are the logits kept beside sigmoid and softmax"
)
every_row = pytest.mark.parametrize("pair", pairs(), ids=repr)


every_fit = pytest.mark.parametrize(
    "pair", {(p.partners, p.labels): p for p in pairs()}.values(), ids=repr
)


# Labels --------------------------------------------------------------------------------------


def one_hot(rng):
    return np.eye(UNITS)[rng.permutation(UNITS)]


def one_hot_pixels(rng):
    return np.eye(UNITS)[rng.integers(0, UNITS, (UNITS, PIXELS))]


def steps(rng):
    ids = np.zeros((UNITS, PIXELS), int)
    ids[:, ::2] = rng.integers(1, UNITS, (UNITS, PIXELS // 2))
    return np.eye(UNITS)[ids]


def same(target):
    return target


def times_ten(target):
    return 10 * target


def wrong_class(target, margin):
    return margin * np.roll(np.eye(UNITS)[target.argmax(-1)], 1, axis=-1)


@dataclass(frozen=True)
class Coding:
    """Targets for each unit, logits that are wrong by a margin or right, and the labels."""

    draw: Callable
    wrong: Callable = wrong_class
    right: Callable = times_ten
    encode: Callable = same


CODINGS = {
    "0 or 1 for each unit": Coding(
        lambda rng: rng.permuted(np.triu(np.ones((UNITS, UNITS)), 1), axis=1),
        wrong=lambda target, margin: margin * (1 - 2 * target),
        right=lambda target: 20 * target - 10,
    ),
    "0 or 1, or else -1 or 1, for each unit": Coding(
        lambda rng: 2 * one_hot(rng) - 1, wrong=lambda target, margin: -margin * target
    ),
    "one-hot": Coding(one_hot),
    "probabilities of the classes that sum to 1": Coding(
        lambda rng: 0.8 * one_hot(rng) + 0.2 * rng.dirichlet([1.0] * UNITS, size=UNITS),
        right=np.log,
    ),
    "integer class ids from 0": Coding(one_hot, encode=lambda target: target.argmax(-1)),
    "boxes: left, top, right, bottom": Coding(
        lambda rng: np.sort(rng.normal(size=(UNITS, 2, 2)), axis=1).reshape(UNITS, 4),
        wrong=lambda target, margin: target + margin,
        right=same,
    ),
    "1 for real, 0 for fake": Coding(
        lambda rng: rng.permuted(np.triu(np.ones((UNITS, UNITS)), 1), axis=1),
        wrong=lambda target, margin: margin * (1 - 2 * target),
        right=lambda target: 20 * target - 10,
    ),
    "numbers from 0 to 1": Coding(
        lambda rng: rng.uniform(0.1, 0.9, size=(UNITS, UNITS)),
        wrong=lambda target, margin: margin * np.where(target < 0.5, 1, -1),
        right=lambda target: np.log(target / (1 - target)),
    ),
    "whole numbers from 0": Coding(
        lambda rng: rng.permuted(np.triu(rng.integers(1, 5, (UNITS, UNITS))), axis=1) * 1.0,
        wrong=lambda target, margin: np.where(target > 0, -margin, margin),
    ),
    "masks of 0 and 1": Coding(
        lambda rng: rng.permuted(np.tile([0.0, 1.0], (UNITS, PIXELS, UNITS // 2)), axis=-1),
        wrong=lambda target, margin: margin * (1 - 2 * target),
        right=lambda target: 20 * target - 10,
    ),
    "one-hot masks": Coding(one_hot_pixels),
    "integer class ids of the pixels": Coding(
        one_hot_pixels, encode=lambda target: target.argmax(-1)
    ),
    # Every second step is a blank, so that the classes of the others are the label.
    "integer class ids from 1, padded with 0": Coding(
        steps, encode=lambda target: target[..., ::2, :].argmax(-1)
    ),
    "real numbers": Coding(
        lambda rng: rng.normal(size=(UNITS, UNITS)),
        wrong=lambda target, margin: target + margin,
        right=same,
    ),
}


def examples(pair, count=3):
    """Single examples as (target, label): every loss below is the loss of one example."""
    coding = CODINGS[pair.labels]
    rng = np.random.default_rng(0)
    targets = np.concatenate([coding.draw(rng) for _ in range(count)])
    return [(target[None], coding.encode(target[None])) for target in targets]


INVERSES = {
    "exponential": lambda rate: np.log(np.maximum(rate, 1e-9)),
    "softplus": lambda rate: np.log(np.expm1(np.maximum(rate, 1e-9))),
}


def right_logits(pair, target):
    return INVERSES.get(pair.activation, CODINGS[pair.labels].right)(target)


def identity_head(pair):
    return pair.head(UNITS, use_bias=False, kernel_initializer="identity")


def loss_and_gradient(pair, label, logits):
    head, loss = identity_head(pair), pair.loss
    logits = ops.convert_to_tensor(logits, dtype="float32")

    def compute(z):
        return loss(label, head(z))

    return float(numpy(compute(logits))), gradient(compute, logits)


# Claims --------------------------------------------------------------------------------------


def check_output_range(pair):
    rng = np.random.default_rng(0)
    logits = np.concatenate([rng.normal(size=(20, UNITS)) * 10.0**k for k in range(-3, 5)])
    output = numpy(identity_head(pair)(logits.astype("float32")))
    claim = pair.output_range
    assert all(value in claim for value in output.flat)
    # The last digit of a softmax depends on the processor: it may end just below 1.
    reached = [
        bool(np.isclose(found, end, rtol=0, atol=1e-6))
        for found, end in ((output.min(), claim.low), (output.max(), claim.high))
    ]
    assert tuple(reached) == claim.closed
    # No narrower interval holds either.
    assert output.min() <= max(claim.low, -1e3) + 1e-6
    assert output.max() >= min(claim.high, 1e3) - 1e-6


def residual_errors(pair):
    """The gradient as a constant times the residual: constant, error and largest slope."""
    rng = np.random.default_rng(1)
    slopes, residuals = [], []
    for target, label in examples(pair):
        logits = rng.uniform(-5.0, 5.0, size=(1, *target.shape[1:]))
        slopes.append(loss_and_gradient(pair, label, logits)[1])
        residuals.append(numpy(identity_head(pair)(logits.astype("float32"))) - target)
    slopes, residuals = np.array(slopes), np.array(residuals)
    constant = (slopes * residuals).sum() / np.square(residuals).sum()
    return constant, np.abs(slopes - constant * residuals).max(), np.abs(slopes).max()


def judge_residual_gradient(measured, claimed):
    constant, error, largest = measured
    if claimed:
        assert constant > 0
        assert error < 1e-5 * max(1.0, largest)
    else:
        assert error > 1e-2


def learns_at_worst(pair):
    learns = []
    for target, label in examples(pair):
        logits = CODINGS[pair.labels].wrong(target, 100.0)
        value, slope = loss_and_gradient(pair, label, logits)
        # Below 1e-30 a slope is what rounding left of 0.
        moves = np.isfinite(slope).all() and np.any(np.abs(slope) > 1e-30)
        learns.append(math.isfinite(value) and moves)
    return all(learns)


def judge_finite_at_worst(measured, claimed):
    assert measured == claimed


def check_residual_gradient(pair):
    judge_residual_gradient(residual_errors(pair), pair.residual_gradient)


def check_finite_at_worst(pair):
    judge_finite_at_worst(learns_at_worst(pair), pair.finite_at_worst)


every_yes_or_no = pytest.mark.parametrize(
    ("claim", "measure", "judge"),
    [
        ("residual_gradient", residual_errors, judge_residual_gradient),
        pytest.param(
            *("finite_at_worst", learns_at_worst, judge_finite_at_worst), marks=on_tensorflow
        ),
    ],
)


@every_fit
def test_output_range_is_true(pair):
    check_output_range(pair)


@every_fit
@every_yes_or_no
def test_claim_is_true(claim, measure, judge, pair):
    measured, claimed = measure(pair), getattr(pair, claim)
    judge(measured, claimed)
    # It can fail: it does not pass the opposite claim.
    with pytest.raises(AssertionError):
        judge(measured, not claimed)


@pytest.mark.parametrize(
    "wrong",
    [
        Interval(0.0, 1.0, closed=(False, True)),
        Interval(0.0, 1.0, closed=(True, False)),
        Interval(0.0, 0.9),
        Interval(-1.0, 1.0),
        Interval(0.0, 2.0),
        Interval(0.0, math.inf, closed=(True, False)),
    ],
    ids=str,
)
def test_wrong_range_is_caught(wrong, monkeypatch):
    known = module.ACTIVATIONS["sigmoid"]
    monkeypatch.setitem(module.ACTIVATIONS, "sigmoid", replace(known, output_range=wrong))
    with pytest.raises(AssertionError):
        check_output_range(recommend("binary"))


# Asking --------------------------------------------------------------------------------------

EXPECTED = {
    ("binary", None): "sigmoid + BinaryCrossentropy()",
    ("binary", "imbalanced"): "sigmoid + Focal(gamma=2.0)",
    ("single-label", None): "softmax + CategoricalCrossentropy()",
    ("single-label", "sparse"): "softmax + SparseCategoricalCrossentropy()",
    ("single-label", "imbalanced"): "softmax + CategoricalFocal(gamma=2.0)",
    ("single-label", "imbalanced-sparse"): "softmax + SparseCategoricalFocal(gamma=2.0)",
    ("single-label", "soft"): "softmax + CategoricalCrossentropy()",
    ("multi-label", None): "sigmoid + BinaryCrossentropy()",
    ("multi-label", "imbalanced"): "sigmoid + Focal(gamma=2.0)",
    ("regression", None): "linear + MeanSquaredError()",
    ("regression", "outliers"): "linear + Huber(delta=1.0)",
    ("detection", None): "sigmoid + Focal(gamma=2.0, alpha=0.25)",
}


@pytest.mark.parametrize(("question", "answer"), EXPECTED.items())
def test_recommended_pair(question, answer):
    assert recommend(*question).partners == answer


@pytest.mark.parametrize(
    ("question", "row"),
    [
        (("Binary",), ("binary", "balanced")),
        (("SINGLE_LABEL", "One Hot"), ("single-label", "one-hot")),
        (("single label", "one_hot"), ("single-label", "one-hot")),
        (("multiclass",), ("single-label", "one-hot")),
        (("Multi-Class", "integer"), ("single-label", "sparse")),
        (("multilabel",), ("multi-label", "balanced")),
        (("object detection",), ("detection", "classes")),
    ],
)
def test_name_variants(question, row):
    pair = recommend(*question)
    assert (pair.task, pair.data) == row


def test_first_row_is_the_answer_and_the_rest_are_alternatives():
    for pair in pairs():
        group = [p for p in pairs() if (p.task, p.data) == (pair.task, pair.data)]
        assert recommend(pair.task, pair.data) is group[0]
        assert set(pair.alternatives) == set(group) - {pair}
        assert pair.alternatives or pair.task == "sequence"
        default = next(p for p in pairs() if p.task == pair.task)
        assert recommend(pair.task) is default


def test_rows_differ():
    rows = [(p.task, p.data, p.partners) for p in pairs()]
    assert len(set(rows)) == len(rows)


@pytest.mark.parametrize("task", ["", "poetry", None, 3])
def test_unknown_task_lists_the_tasks(task):
    with pytest.raises(ValueError, match="`task` must be one of 'binary', ") as error:
        recommend(task)
    assert f"Received: task={task!r}" in str(error.value)
    for pair in pairs():
        assert repr(pair.task) in str(error.value)


@pytest.mark.parametrize("data", ["", "gaussian", 3])
def test_unknown_data_lists_the_kinds_of_the_task(data):
    with pytest.raises(ValueError, match="`data` must be one of ") as error:
        recommend("binary", data)
    message = str(error.value)
    assert "'balanced', 'imbalanced' for task='binary'" in message
    assert f"Received: data={data!r}" in message
    assert "outliers" not in message


def test_a_new_row_needs_no_code(monkeypatch):
    row = replace(recommend("regression"), task="new-task", data="some data")
    monkeypatch.setattr(module, "_TABLE", (*pairs(), row))
    assert recommend("New Task") is row
    assert recommend("newtask", "some_data") is row
    assert row in pairs()
    assert row.alternatives == ()
    with pytest.raises(ValueError, match="'new-task'"):
        recommend("another")


# What comes back -----------------------------------------------------------------------------


@every_row
def test_loss_and_metrics_are_new_at_each_access(pair):
    assert pair.loss is not pair.loss
    assert isinstance(pair.loss, keras.losses.Loss)
    first, second = pair.metrics, pair.metrics
    assert first or pair.task == "sequence"
    assert not {id(m) for m in first} & {id(m) for m in second}


def test_pair_cannot_be_changed():
    with pytest.raises(AttributeError):
        recommend("binary").task = "other"


@every_row
def test_text_tells_the_row(pair):
    text = str(pair)
    for part in (pair.task, pair.data, pair.activation, type(pair.loss).__name__):
        assert part in text
    for part in (pair.labels, pair.why, pair.source, str(pair.output_range)):
        assert part in text
    for other in pair.alternatives:
        assert other.partners in text


LESS_IS_BETTER = (
    "PinballLoss",
    "MeanAbsoluteError",
    "RootMeanSquaredError",
    "Hinge",
    "KLDivergence",
)


@every_row
def test_metrics_tell_right_from_wrong(pair):
    coding = CODINGS[pair.labels]
    target = coding.draw(np.random.default_rng(0))
    label = coding.encode(target)
    head = identity_head(pair)
    for metric in pair.metrics:
        scores = []
        for logits in (right_logits(pair, target), coding.wrong(target, 10.0)):
            metric.reset_state()
            metric.update_state(label, head(logits.astype("float32")))
            scores.append(float(numpy(ops.convert_to_tensor(metric.result()))))
        if type(metric).__name__ in LESS_IS_BETTER:
            assert scores[0] < 0.2 < scores[1]
        else:
            assert scores[0] > 0.99
            assert scores[1] < 0.5


def test_hinge_loss_and_metric_are_the_same_for_both_codings():
    (pair, _) = recommend("binary").alternatives
    head = identity_head(pair)
    scores = head(np.array([[3.0, -0.2, -4.0, 0.3]], dtype="float32"))
    for zero_one in ([[1, 0, 0, 1]], [[0, 1, 1, 0]], [[1, 1, 1, 1]], [[0, 0, 0, 0]]):
        signs = 2 * np.array(zero_one) - 1
        assert float(pair.loss(np.array(zero_one), scores)) == float(pair.loss(signs, scores))
        (first,), (second,) = pair.metrics, pair.metrics
        first.update_state(zero_one, scores)
        second.update_state(signs, scores)
        assert float(first.result()) == float(second.result()) == float(pair.loss(signs, scores))


@every_row
def test_trains_in_a_model(pair):
    coding = CODINGS[pair.labels]
    target = coding.draw(np.random.default_rng(0))
    model = keras.Sequential([keras.layers.Input(target.shape[1:]), pair.head(UNITS)])
    model.compile("sgd", loss=pair.loss, metrics=pair.metrics, run_eagerly=True)
    x = np.random.default_rng(1).normal(size=target.shape).astype("float32")
    logs = model.train_on_batch(x, coding.encode(target), return_dict=True)
    assert all(np.isfinite(value).all() for value in logs.values())
    assert len(logs) == 1 + len(pair.metrics)


def test_trains_in_a_graph():
    pair = recommend("binary", "imbalanced")
    model = keras.Sequential([keras.layers.Input((2,)), pair.head(1)])
    model.compile("sgd", loss=pair.loss, metrics=pair.metrics)
    x = np.random.default_rng(1).normal(size=(8, 2)).astype("float32")
    history = model.fit(x, (x[:, :1] > 0).astype("int32"), verbose=0)
    assert set(history.history) == {"loss", "pr_auc"}


# The head ------------------------------------------------------------------------------------


@every_row
def test_head_has_the_activation_and_passes_arguments_on(pair):
    head = pair.head(np.int64(4), use_bias=False, name="out")
    assert isinstance(head, keras.layers.Dense)
    assert (head.units, head.use_bias, head.name) == (4, False, "out")
    assert head.activation is keras.activations.get(pair.activation)


@pytest.mark.parametrize("units", [0, -1, 2.0, True, None, "3"])
def test_head_needs_a_positive_integer(units):
    with pytest.raises(ValueError, match=r"`units` must be .*Received: units="):
        recommend("binary").head(units)


def test_softmax_over_one_unit_is_an_error_that_names_binary():
    with pytest.raises(ValueError, match=r"`units` must be >= 2.*binary.*Received: units=1"):
        recommend("single-label").head(1)
    assert recommend("binary").head(1).units == 1


def test_head_keeps_its_activation():
    with pytest.raises(ValueError, match=r"`activation` must .* Received: activation='relu'"):
        recommend("binary").head(1, activation="relu")


@pytest.fixture
def policy():
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


@on_tensorflow
@pytest.mark.parametrize("name", ["mixed_float16", "mixed_bfloat16", "float16", "bfloat16"])
@pytest.mark.parametrize("task", ["binary", "single-label", "regression"])
def test_half_precision_stops_before_the_head(task, name, policy):
    policy(name)
    pair = recommend(task)
    assert pair.head(2).compute_dtype == "float32"
    assert pair.loss.dtype == "float32"
    assert {metric.dtype for metric in pair.metrics} == {"float32"}
    check_finite_at_worst(pair)
    check_residual_gradient(pair)
    assert pair.head(2, dtype="float16").compute_dtype == "float16"


@on_tensorflow
def test_half_precision_floatx():
    # Keras losses and metrics take their default dtype from floatx, not from the policy.
    before = keras.config.floatx()
    try:
        keras.config.set_floatx("float16")
        assert recommend("binary").loss.dtype == "float32"
        check_finite_at_worst(recommend("binary"))
    finally:
        keras.config.set_floatx(before)


@pytest.mark.skipif(not has_float64(), reason="the backend computes in float32")
def test_float64_is_kept_by_head_loss_and_metrics(policy):
    policy("float64")
    pair = recommend("single-label")
    assert pair.head(2).compute_dtype == "float64"
    assert pair.loss.dtype == "float64"
    if BACKEND == "tensorflow":
        check_finite_at_worst(pair)


# The page ------------------------------------------------------------------------------------


def table_line(pair):
    loss = pair.partners.split(" + ")[1]
    cells = (pair.task, pair.data, pair.activation, f"`{loss}`", pair.labels, pair.why)
    return f"| {' | '.join((*cells, pair.source))} |"


def claims_line(pair):
    activation, loss = pair.partners.split(" + ")
    yes_no = {True: "yes", False: "no"}
    claims = (yes_no[pair.residual_gradient], yes_no[pair.finite_at_worst])
    return f"| {' | '.join((activation, f'`{loss}`', str(pair.output_range), *claims))} |"


def test_page_has_the_table():
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    in_page = [line for line in lines if line.startswith("| ") and "`" in line]
    in_table = [table_line(pair) for pair in pairs()]
    in_claims = list(dict.fromkeys(claims_line(pair) for pair in pairs()))
    assert in_page == in_table + in_claims


def test_examples_in_docstrings():
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
    assert result.attempted >= 5
    assert Pair.__doc__

"""docs/check.md: its codes are those of the code, its examples run, its figures are measured."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import losses, metrics

import keras_duo as duo
from keras_duo.check import CODES
from keras_duo.check._codes import RULES

PAGE = (Path(__file__).parents[2] / "docs" / "check.md").read_text(encoding="utf-8")
_parts = re.split(r"^### `([a-z-]+)`\n", PAGE, flags=re.MULTILINE)
HEAD, SECTIONS = _parts[0], dict(zip(_parts[1::2], _parts[2::2], strict=True))


def code_of(text):
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def prose_of(code):
    return re.sub(r"```python\n.*?```", "", SECTIONS[code].split("\n## ")[0], flags=re.DOTALL)


def test_codes_and_severities_are_those_of_the_code():
    stated = {
        code: tuple(re.match(r"\*([a-z, ]+)\.\*", text).group(1).split(", "))
        for code, text in SECTIONS.items()
    }
    assert stated == CODES


@pytest.fixture(scope="module")
def beginning():
    names = {}
    exec(code_of(HEAD)[-1], names)  # noqa: S102
    return names


@pytest.mark.filterwarnings("ignore:You are using a softmax over axis:UserWarning")
@pytest.mark.parametrize("code", CODES)
def test_wrong_is_found_and_right_is_clean(code, beginning):
    (block,) = code_of(SECTIONS[code])
    # `logits` is set in the section before the one that uses it.
    names = {**beginning, "logits": losses.BinaryCrossentropy(from_logits=True)}
    exec(block, names)  # noqa: S102
    assert code in {finding.code for finding in names["wrong"]}
    assert names["right"] == []


# Figures -------------------------------------------------------------------------------------


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softmax(z):
    return np.exp(z) / np.exp(z).sum()


def slope(function, z, index=None):
    """The derivative in float64, by central differences."""
    if index is None:
        return (function(z + 1e-6) - function(z - 1e-6)) / 2e-6
    step = 1e-6 * np.eye(len(z))[index]
    return (function(z + step) - function(z - step)) / 2e-6


def in_keras(loss, label, output):
    """Value and gradient of a loss at an output that carries no logits, in float32."""
    output = tf.constant(output, "float32")
    with tf.GradientTape() as tape:
        tape.watch(output)
        value = loss(tf.constant(label), output)
    gradient = tape.gradient(value, output).numpy()
    return float(value), float(gradient.flat[0])


def double_softmax():
    equal, wrong = np.zeros(10), 8 * np.eye(10)[1]

    def once(z):
        return -np.log(softmax(z)[0])

    def twice(z):
        return -np.log(softmax(softmax(z))[0])

    yield f"{softmax(np.eye(10)[0])[0]:.3f}"
    yield f"{-np.log(softmax(np.eye(10)[0])[0]):.3f}"
    yield f"{slope(twice, equal, 0):.2f} in place of {slope(once, equal, 0):.2f}"
    yield f"{slope(twice, wrong, 0):.5f} in place of {slope(once, wrong, 0):.2f}"


def double_sigmoid():
    def once(z):
        return -np.log(sigmoid(z))

    def twice(z):
        return -np.log(sigmoid(sigmoid(z)))

    yield f"{sigmoid(0)} and {sigmoid(1):.3f}"
    yield f"{slope(twice, 0.0):.3f} in place of {slope(once, 0.0):.3f}"
    yield f"{slope(twice, -4.0):.4f} in place of {slope(once, -4.0):.4f}"


def sigmoid_from_logits():
    for z in (0.0, -4.0):
        ratio = slope(lambda z: np.log(sigmoid(z)), z) / slope(
            lambda z: np.log(sigmoid(sigmoid(z))), z
        )
        yield f"{ratio:.2g} times" if ratio < 10 else f"{ratio:.0f} times"


def logits_as_probabilities():
    value, gradient = in_keras(losses.BinaryCrossentropy(), [[1.0]], [[-0.5]])
    assert gradient == in_keras(losses.KLDivergence(), [[1.0]], [[-0.5]])[1] == 0
    yield f"-0.5 a positive example costs {value:.3f} with gradient {gradient:.0f}"
    yield f"gradient is {sigmoid(-0.5) - 1:.3f}"
    yield f"{in_keras(losses.Dice(), [[1.0]], [[10.0]])[0]:.3f}"
    share = [[-1.0, 2.0, 1.0]]
    value, gradient = in_keras(losses.CategoricalCrossentropy(), [[1.0, 0.0, 0.0]], share)
    assert value > 16
    assert gradient == 0


def rectified_probability():
    value, gradient = in_keras(losses.BinaryCrossentropy(), [[1.0]], [[0.0]])
    assert gradient == in_keras(losses.BinaryCrossentropy(), [[0.0]], [[1.5]])[1] == 0
    yield f"{value:.3f}"
    assert np.isnan(in_keras(losses.CategoricalCrossentropy(), [[1.0, 0.0]], [[0.0, 0.0]])[0])


def tanh_probability():
    value, gradient = in_keras(losses.BinaryCrossentropy(), [[1.0]], [[np.tanh(-1)]])
    yield f"{np.tanh(-1):.3f} a positive example costs {value:.3f} with gradient {gradient:.0f}"


def unbounded_probability():
    output = 1.2 * sigmoid(3)
    value, gradient = in_keras(losses.BinaryCrossentropy(), [[0.0]], [[output]])
    yield "scale of 1.2"
    yield f"at {output:.3f}"
    yield f"costs {value:.3f} with gradient {abs(gradient):.0f}"


def rectified_logits():
    yield "0.5"
    yield f"{np.log(2):.3f}"


def bounded_logits():
    yield f"between {sigmoid(-1):.3f} and {sigmoid(1):.3f}"
    yield f"at least {-np.log(sigmoid(1)):.3f}"
    yield f"below {1 - sigmoid(1):.3f} in size"
    yield f"{softmax(2 * np.eye(10)[0] - 1)[0]:.3f}"


def softmax_multi_label():
    best = min(
        -(np.log(p) + np.log(q) + np.log(p + q)) / 3
        for p in np.linspace(0.01, 0.98, 98)
        for q in np.linspace(0.01, 0.98, 98)
        if p + q < 1 + 1e-9
    )
    yield "0.5 each"
    yield f"above {best:.3f}"


def sigmoid_single_label():
    generalized = losses.CategoricalGeneralizedCrossEntropy(0.5)
    yield f"at 1 score {in_keras(generalized, [0], [[1.0, 1.0]])[0]:.0f}"


def half_precision_probability():
    # Halfway between 1 and the number below it, which is 2^-11 or 2^-8 less.
    yield f"{np.log(2**12 - 1):.2f} in float16"
    yield f"{np.log(2**9 - 1):.2f} in bfloat16"
    value, gradient = in_keras(losses.BinaryCrossentropy(), [[0.0]], [[1.0]])
    assert gradient == 0
    yield f"costs {value:.3f}"


def probability_hinge():
    fading = sigmoid(-4) * sigmoid(4)
    yield f"{-fading:.3f} in place of -1: {1 / fading:.0f} times"
    assert in_keras(losses.Hinge(), [[-1.0]], [[0.0]])[0] == 1


def sigmoid_adversarial():
    _, gradient = in_keras(duo.LSGAN(), [[0.0]], [[sigmoid(4)]])
    yield f"{gradient * sigmoid(4) * sigmoid(-4):.4f} in place of 4"
    assert in_keras(duo.LSGAN(), [[0.0]], [[4.0]])[1] == 4
    yield f"{1 / (sigmoid(4) * sigmoid(-4)):.0f} times"
    yield f"{1 / (sigmoid(8) * sigmoid(-8)):.0f} times"
    assert in_keras(duo.HingeGAN(), [[0.0]], [[0.0]])[0] == 1
    yield f"less than {in_keras(duo.NonSaturating(), [[0.0]], [[0.0]])[0]:.3f}"


def negative_rate():
    yield "-0.1"
    assert np.isnan(in_keras(losses.Poisson(), [[2.0]], [[-0.1]])[0])
    msle = losses.MeanSquaredLogarithmicError()
    value, gradient = in_keras(msle, [[2.0]], [[-0.1]])
    assert value == pytest.approx(in_keras(msle, [[2.0]], [[0.0]])[0])
    assert gradient == 0


def quantiles_differ():
    labels = np.random.default_rng(0).normal(size=(400, 1))
    falling = duo.Quantile([0.9, 0.5, 0.1])

    def value(outputs):
        return float(falling(labels, np.tile(outputs, (400, 1))))

    best = value([np.median(labels)] * 3)
    for rising in ([-0.1, 0.0, 0.1], [-0.01, 0.0, 0.02], [-1.3, 0.0, 1.3], [0.2, 0.2, 0.2]):
        assert value(rising) > best
    # d/dq of the pinball loss at the median is 1/2 - tau; the lowest output has tau = 0.9.
    slopes = [f"{0.5 - tau:.1g}" for tau in (0.9, 0.5, 0.1)]
    yield f"{slopes[0]}, {slopes[1]} and {slopes[2]}"


def quantiles_cross():
    yield "between -tau and 1 - tau"
    yield "0.9 above 0.1"


def ids_with_categorical_loss():
    value, gradient = in_keras(losses.KLDivergence(), [[1.0]], [[1 / 3, 1 / 3, 1 / 3]])
    yield f"{value:.3f} with the gradient {gradient:.0f}"


def labels_not_probabilities():
    logits = losses.BinaryCrossentropy(from_logits=True)
    yield f"it is\n{in_keras(logits, [[-1.0]], [[-100.0]])[0]:.0f}"


def multi_hot_with_categorical_loss():
    yield "0.5 each"
    yield f"{-2 * np.log(0.5):.3f}"


def hinge_labels():
    loss = losses.Hinge(reduction=None)
    mixed = np.array([[0.0], [0.9]], "float32")
    assert loss(mixed, np.array([[5.0], [0.3]], "float32"))[0] == 1
    assert in_keras(losses.Hinge(), mixed, [[5.0], [0.3]])[1] == 0
    yield "costs 1"


def targets_out_of_reach():
    assert in_keras(losses.MeanSquaredError(), [[-1.0]], [[0.0]])[0] == 1
    yield f"{slope(lambda z: (sigmoid(z) - 3) ** 2, 4.0):.3f} where a linear output of 4 has 2"
    assert slope(lambda z: (z - 3) ** 2, 4.0) == pytest.approx(2)


def negative_counts():
    yield f"p = 0.1 it is {in_keras(losses.Poisson(), [[-1.0]], [[0.1]])[1]:.0f}"


def label_shape():
    labels = np.array([0.0, 1.0])
    grid = np.linspace(-1, 2, 3001)
    values = [np.square(labels[:, None] - [p, p]).mean() for p in grid]
    yield f"minimum of {min(values):.2f} at a constant {grid[np.argmin(values)]:.1f}"


def imbalanced_labels():
    yield f"gradient of {sigmoid(0)}"
    yield "p = 0.5"
    yield "2 % positives, 98 %"


def metric_threshold():
    yield f"logit of 0.5 is a probability of {sigmoid(0.5):.3f}"
    yield "-0.5 and 1.5"
    labels, scores = [0, 0, 0, 1, 1, 1], [-2.0, -1.0, 2.0, 3.0, -0.5, 1.5]
    for metric, words in ((metrics.AUC(from_logits=True), "is"), (metrics.AUC(), "says")):
        metric.update_state(labels, scores)
        yield f"{words} {float(metric.result()):.3f}"
    ranks = np.argsort(np.argsort(scores)) + 1
    exact = (ranks[3:].sum() - 6) / 9
    yield f"{exact:.3f}"


def metric_from_logits():
    for label, words in ((0.0, "example costs"), (1.0, "positive one costs")):
        right, wrong = metrics.BinaryCrossentropy(from_logits=True), metrics.BinaryCrossentropy()
        for metric in (right, wrong):
            metric.update_state([[label]], [[-2.0]])
        yield f"{words} {float(right.result()):.3f}"
        yield f"{float(wrong.result()):.3f}"


def metric_one_unit():
    labels = np.array([[1.0]] * 3 + [[0.0]] * 7)
    for output in (np.linspace(0.1, 0.9, 10), np.linspace(0.9, 0.1, 10)):
        f1, accuracy = metrics.F1Score(), metrics.CategoricalAccuracy()
        f1.update_state(labels, output[:, None])
        accuracy.update_state(labels, output[:, None])
        yield f"is {float(f1.result()[0]):.3f}"
        assert accuracy.result() == 1


def metric_multi_label():
    yield "0.8 0.9 0.1"
    label, output = [[1, 1, 0]], [[0.8, 0.9, 0.1]]
    for metric, expected in ((metrics.CategoricalAccuracy(), 0), (metrics.BinaryAccuracy(), 1)):
        metric.update_state(label, output)
        assert metric.result() == expected


def metric_labels():
    metric = metrics.BinaryAccuracy(threshold=0.0)
    metric.update_state([[-1], [1]], [[-2.0], [2.0]])
    yield f"`BinaryAccuracy` is {float(metric.result())}"


def capped_loss():
    value, gradient = in_keras(losses.BinaryCrossentropy(), [[1.0]], [[0.0]])
    assert gradient == 0
    yield f"{value:.3f}"


def softmax_from_logits():
    yield f"below {sigmoid(0)}"


FIGURES = {
    name.replace("_", "-"): function
    for name, function in list(globals().items())
    if name.replace("_", "-") in CODES
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("code", CODES)
def test_figures_are_measured(code):
    prose = prose_of(code)
    measured = list(FIGURES[code]()) if code in FIGURES else []
    for figure in measured:
        assert figure in prose
    for decimal in re.findall(r"\d+\.\d+", prose):
        assert decimal in " ".join(measured), f"{decimal} is not measured"


@pytest.mark.filterwarnings("ignore")
def test_figures_of_the_findings_are_on_the_page():
    measured = " ".join(figure for function in FIGURES.values() for figure in function())
    for rule in RULES:
        for decimal in re.findall(r"\d+\.\d+", rule.consequence):
            assert decimal in measured, f"{rule.code}: {decimal} is not measured"


def test_figures_are_those_of_this_keras():
    assert "Keras" in HEAD
    assert keras.backend.backend() == "tensorflow"

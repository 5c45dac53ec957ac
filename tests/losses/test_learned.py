"""LearnedLoss beside the losses that it holds as special cases, its bounds, and its formula."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from keras import ops

import keras_duo as duo
from keras_duo.losses import _learned_forms
from tests.backend import gradient, has_float64, numpy

RANDOM = np.random.default_rng(0)
LABELS = np.eye(5)[RANDOM.integers(0, 5, 64)]
PROBABILITIES = RANDOM.dirichlet(np.ones(5), 64)
WIDEST = "float64" if has_float64() else "float32"


def weight_on(*terms):
    weights = np.zeros(_learned_forms.TERMS)
    weights[list(terms)] = 1 / len(terms)
    return tuple(weights.tolist())


def values(y_true, y_pred, **arguments):
    return numpy(duo.learned_loss(y_true, ops.cast(y_pred, WIDEST), **arguments))


def test_the_terms_of_a_mixture_are_the_losses_that_they_stand_for():
    p = (LABELS * PROBABILITIES).sum(-1)
    expected = [-np.log(p), *((1 - p**q) / q for q in (0.5, 1, 2, 4, 8)), (1 - p) ** 2]
    for i, each in enumerate(expected):
        found = values(LABELS, PROBABILITIES, coefficients=weight_on(i))
        np.testing.assert_allclose(found, each, rtol=1e-5)
    both = values(LABELS, PROBABILITIES, coefficients=weight_on(1, 6))
    np.testing.assert_allclose(both, (expected[1] + expected[6]) / 2, rtol=1e-5)
    # Half of the absolute error of the whole distribution is 1 - p for a one-hot label.
    absolute = np.abs(LABELS - PROBABILITIES).sum(-1) / 2
    np.testing.assert_allclose(expected[2], absolute)


def test_a_power_is_generalized_cross_entropy():
    loss = keras.losses.CategoricalGeneralizedCrossEntropy(q=0.5, reduction="none")
    expected = numpy(loss(LABELS.argmax(-1), PROBABILITIES.astype("float32")))
    found = values(LABELS, PROBABILITIES, coefficients=weight_on(1))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_taylor_with_one_coefficient_is_poly_cross_entropy():
    for epsilon in (2.0, -0.3):
        found = values(LABELS, PROBABILITIES, form="taylor", coefficients=(epsilon, 0.0, 0.0))
        expected = numpy(duo.poly_cross_entropy_loss(LABELS, PROBABILITIES, epsilon=epsilon))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_the_network_is_the_one_that_its_order_says():
    c = RANDOM.normal(size=33)
    w = 1 - (LABELS * PROBABILITIES).sum(-1)
    d = -np.log1p(-w)
    hidden = np.tanh(np.outer(w, c[:8]) + np.outer(d / (1 + d), c[8:16]) + c[16:24])
    expected = d * np.log1p(np.exp(hidden @ c[24:32] + c[32]))
    found = values(LABELS, PROBABILITIES, form="network", coefficients=tuple(c))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_regression_is_the_squared_error_at_small_errors_and_bounded_at_large_ones():
    y, small = RANDOM.normal(size=(64, 3)), 1e-3 * RANDOM.normal(size=(64, 3))
    for i in range(6):
        found = values(
            y, y + small, task="regression", coefficients=weight_on(i), scale=2.0, axis=-1
        )
        np.testing.assert_allclose(found, (small**2).mean(-1), rtol=1e-2)
    welsch = values([[0.0]], [[3.0]], task="regression", coefficients=weight_on(2), scale=2.0)
    np.testing.assert_allclose(welsch, 4 * (1 - np.exp(-9 / 4)), rtol=1e-5)


def coefficients_of(form):
    least, largest = (np.array(bound) for bound in _learned_forms.bounds(form))
    if form == "mixture":
        parts = arrays(float, len(least), elements=st.floats(0, 1)).filter(lambda w: w.sum() > 0.01)
        return parts.map(lambda w: tuple((w / w.sum()).tolist()))
    unit = arrays(float, len(least), elements=st.floats(0, 1))
    largest = np.minimum(largest, 5.0)
    least = np.maximum(least, -5.0)
    return unit.map(lambda u: tuple(np.clip(least + u * (largest - least), least, None).tolist()))


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("form", _learned_forms.FORMS)
@given(data=st.data())
def test_it_is_bounded_below_and_its_gradient_does_not_vanish_everywhere(form, task, data):
    coefficients = data.draw(coefficients_of(form))
    z = np.linspace(-6, 6, 49)[:, None]
    if task == "classification":
        y_pred, options = np.concatenate([z, 0 * z], -1), {"from_logits": True}
        y_true = np.eye(2)[np.zeros(49, int)]
    else:
        y_pred, y_true, options = z, np.zeros_like(z), {"task": "regression"}

    def loss(y_pred):
        return duo.learned_loss(y_true, y_pred, form=form, coefficients=coefficients, **options)

    y_pred = y_pred.astype(WIDEST)
    found, slope = numpy(loss(y_pred)), gradient(loss, y_pred)[:, 0]
    assert np.isfinite(found).all()
    assert (found >= -1e-6).all()
    assert np.isfinite(slope).all()
    assert np.abs(slope).max() > 0
    if form != "network":
        # Falls wherever the prediction moves towards the label.
        towards = 1.0 if task == "classification" else -np.sign(z[:, 0])
        assert (slope * towards <= 1e-6).all()


def test_hopeless_and_finished_examples_keep_their_digits():
    z = np.array([[-40.0, 0.0], [40.0, 0.0]], "float32")
    y = np.array([[1.0, 0.0], [1.0, 0.0]])
    hopeless = [40.0, 2.0, 1.0, 0.5, 0.25, 0.125, 1.0]
    finished = [np.exp(-40.0)] * 6 + [np.exp(-80.0)]
    for i in range(7):
        found = numpy(duo.learned_loss(y, z, coefficients=weight_on(i), from_logits=True))
        np.testing.assert_allclose(found, [hopeless[i], finished[i]], rtol=1e-5)


def test_its_text_is_its_formula():
    loss = duo.LearnedLoss(coefficients=(0.25, 0.25, 0.5, 0.0, 0.0, 0.0, 0.0))
    assert str(loss) == (
        "0.25 (-log p) + 0.25 (1 - p^0.5) / 0.5 + 0.5 (1 - p), p = probability of the label"
    )
    assert str(duo.LearnedLoss()) == "(-log p), p = probability of the label"
    taylor = duo.LearnedLoss("taylor", (0.5, 0.0, -0.1), task="regression", scale=2.0)
    assert str(taylor) == ("4 * ((-log p) + 0.5 (1 - p) - 0.1 (1 - p)^3), p = exp(-(error / 2)^2)")
    assert str(duo.LearnedLoss("network")) == (
        "(-log p) softplus(0.5413), s = -log p / (1 - log p), p = probability of the label"
    )
    assert eval(repr(loss), {"LearnedLoss": duo.LearnedLoss}).get_config() == loss.get_config()  # noqa: S307


def test_the_formula_is_the_value():
    c = tuple(RANDOM.normal(size=33).tolist())
    for form, coefficients in (
        ("mixture", (0.1, 0.2, 0.1, 0.2, 0.1, 0.2, 0.1)),
        ("taylor", (0.5, -0.1, 0.3)),
        ("network", c),
    ):
        text, _, _ = str(duo.LearnedLoss(form, coefficients)).partition(", p =")
        text, _, _ = text.partition(", s =")
        text = text.replace("(-log p)", "(-log(p))").replace(")^", ")**").replace("p^", "p**")
        for factor in ("(1", "softplus", "tanh", "s ", "(-log"):
            text = text.replace(f" {factor}", f" * {factor}")
        p = 0.3
        names = {"p": p, "s": -np.log(p) / (1 - np.log(p)), "log": np.log, "tanh": np.tanh}
        names["softplus"] = lambda x: np.log1p(np.exp(x))
        found = values([[1, 0]], [[p, 1 - p]], form=form, coefficients=coefficients)
        np.testing.assert_allclose(eval(text, names), found[0], rtol=2e-3)  # noqa: S307

"""The robust losses against 60-digit arithmetic, their definitions, and the losses they extend."""

import itertools

import keras
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

import keras_duo as duo
from keras_duo.losses import (
    asymmetric_focal_loss,
    categorical_focal_loss,
    focal_loss,
    poly_cross_entropy_loss,
    symmetric_cross_entropy_loss,
)
from tests.backend import gradient, numpy, value_and_slope
from tests.losses.test_focal import (
    BARS,
    TINY,
    assert_exact,
    binary_cases,
    categorical_cases,
    in_every_dtype,
    modes,
)

CATEGORICAL = [
    (symmetric_cross_entropy_loss, {}),
    (symmetric_cross_entropy_loss, {"alpha": 1.0, "beta": 0.1, "log_zero": -6.0}),
    (symmetric_cross_entropy_loss, {"alpha": 0.0}),
    (poly_cross_entropy_loss, {}),
    (poly_cross_entropy_loss, {"epsilon": 5.0}),
    (poly_cross_entropy_loss, {"epsilon": -0.5}),
    (poly_cross_entropy_loss, {"epsilon": -1.0}),
]
GAMMAS_AND_SHIFTS = list(
    itertools.product([(0.0, 4.0), (1.0, 0.0), (0.5, 0.5), (2.0, 1.0)], [0.0, 0.05, 0.3])
)


def exact_categorical(row, ce_weight, wrong_weight):
    """a * CE + b * (1 - p_t) and its gradient, where class 0 is the label."""
    with mpmath.workdps(60):
        others = [mpmath.exp(mpmath.mpf(float(z))) for z in row[1:]]
        margin = mpmath.mpf(float(row[0])) - mpmath.log(mpmath.fsum(others))
        with mpmath.workdps(200):  # epsilon = -1 leaves w^2 / 2 of w: digits for all w in float32
            odds = mpmath.exp(-margin)
            wrong = odds / (1 + odds)
            value = ce_weight * mpmath.log1p(odds) + wrong_weight * wrong
            slope = -ce_weight * wrong - wrong_weight * wrong / (1 + odds)
        shares = [other / mpmath.fsum(others) for other in others]
        return +value, [+slope, *(-slope * share for share in shares)]


def weights_of(loss, options):
    if loss is poly_cross_entropy_loss:
        return 1, mpmath.mpf(options.get("epsilon", 1.0))
    alpha, beta = options.get("alpha", 0.1), options.get("beta", 1.0)
    return mpmath.mpf(alpha), -mpmath.mpf(beta) * mpmath.mpf(options.get("log_zero", -4.0))


def exact_asymmetric(logit, label, gamma_positive, gamma_negative, shift):
    """Loss and slope for one label."""
    with mpmath.workdps(60):
        z = mpmath.mpf(float(logit))
        p, off = 1 / (1 + mpmath.exp(-z)), 1 / (1 + mpmath.exp(z))
        if label == 1:
            cross_entropy = mpmath.log1p(mpmath.exp(-z))
            faded = off**gamma_positive
            return faded * cross_entropy, -faded * (gamma_positive * p * cross_entropy + off)
        q = p - mpmath.mpf(shift)
        if q <= 0:
            return mpmath.mpf(0), mpmath.mpf(0)
        rest = off + mpmath.mpf(shift)
        cross_entropy = mpmath.log1p(mpmath.exp(z)) if shift == 0 else -mpmath.log(rest)
        slope = gamma_negative * cross_entropy / q + 1 / rest
        return q**gamma_negative * cross_entropy, q**gamma_negative * slope * p * off


class TestAgainstSixtyDigits:
    @pytest.mark.parametrize(("dtype", "case"), in_every_dtype(CATEGORICAL))
    def test_categorical(self, case, dtype):
        loss, options = case
        rows = categorical_cases(dtype)
        truth = [exact_categorical(row, *weights_of(loss, options)) for row in rows]
        one_hot = np.eye(5)[np.zeros(len(rows), int)]
        x = ops.cast(rows, dtype)

        def value(x):
            return loss(one_hot, x, from_logits=True, **options)

        for _, run in modes(value_and_slope(value)):
            found, slope = run(x)
            assert_exact(numpy(found), [value for value, _ in truth], 1e-5, TINY["float32"])
            expected = [slopes for _, slopes in truth]
            assert_exact(numpy(slope), expected, BARS[dtype], TINY[dtype])

    @pytest.mark.parametrize(("dtype", "case"), in_every_dtype(GAMMAS_AND_SHIFTS))
    def test_asymmetric(self, case, dtype):
        gammas, shift = case
        logits, labels = binary_cases(dtype)
        truth = [
            exact_asymmetric(z, y, *gammas, shift)
            for z, y in zip(logits[:, 0], labels[:, 0], strict=True)
        ]
        options = {"gamma_positive": gammas[0], "gamma_negative": gammas[1], "shift": shift}
        x = ops.cast(logits, dtype)

        def value(x):
            return asymmetric_focal_loss(labels, x, from_logits=True, **options)

        for _, run in modes(value_and_slope(value)):
            found, slope = run(x)
            assert_exact(numpy(found), [value for value, _ in truth], 1e-5, TINY["float32"])
            assert_exact(numpy(slope), [slope for _, slope in truth], BARS[dtype], TINY[dtype])


class TestAgainstTheDefinition:
    logits = np.random.default_rng(0).normal(size=(32, 4)) * 2
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    soft = np.random.default_rng(1).dirichlet(np.ones(4), 32)
    one_hot = np.eye(4)[np.random.default_rng(2).integers(0, 4, 32)]

    @pytest.mark.parametrize("smoothing", [0.0, 0.2])
    def test_symmetric(self, smoothing):
        for y in (self.soft, self.one_hot):
            target = y * (1 - smoothing) + smoothing / 4
            cross_entropy = -(target * np.log(self.p)).sum(-1)
            floored = np.log(np.maximum(y, np.exp(-3.0)))
            expected = 0.3 * cross_entropy - 0.7 * (self.p * floored).sum(-1)
            actual = symmetric_cross_entropy_loss(
                y,
                self.p.astype("float32"),
                alpha=0.3,
                beta=0.7,
                log_zero=-3.0,
                label_smoothing=smoothing,
            )
            np.testing.assert_allclose(numpy(actual), expected, rtol=1e-5)

    @pytest.mark.parametrize("epsilon", [-1.0, -0.3, 0.0, 2.0])
    @pytest.mark.parametrize("smoothing", [0.0, 0.2])
    def test_poly(self, epsilon, smoothing):
        for y in (self.soft, self.one_hot):
            target = y * (1 - smoothing) + smoothing / 4
            expected = -(target * np.log(self.p)).sum(-1) + epsilon * (1 - (y * self.p).sum(-1))
            actual = poly_cross_entropy_loss(
                y, self.logits, epsilon=epsilon, label_smoothing=smoothing, from_logits=True
            )
            np.testing.assert_allclose(numpy(actual), expected, rtol=1e-5)

    def test_the_first_coefficient_can_be_taken_away(self):
        """Of the series of cross-entropy: nearly (1 - p_t)^2 / 2 is left."""
        z = np.array([[8.0, 0.0], [12.0, 0.0], [30.0, 0.0]])
        wrong = np.exp(-z[:, 0])
        actual = poly_cross_entropy_loss([[1, 0]] * 3, z, epsilon=-1.0, from_logits=True)
        np.testing.assert_allclose(numpy(actual), wrong**2 / 2, rtol=1e-3)

    def test_a_row_without_a_label_is_worth_nothing(self):
        y = np.zeros((1, 3))
        for loss in (symmetric_cross_entropy_loss, poly_cross_entropy_loss):
            options = {"beta": 0.0} if loss is symmetric_cross_entropy_loss else {}
            value = loss(y, [[3.0, -1.0, 0.5]], from_logits=True, **options)
            assert numpy(value) == [0.0]

    def test_soft_multi_labels(self):
        y = np.random.default_rng(3).uniform(size=(32, 4))
        p = 1 / (1 + np.exp(-self.logits))
        q = np.maximum(p - 0.1, 0)
        expected = y * (1 - p) ** 1.5 * -np.log(p) + (1 - y) * q**3 * -np.log(1 - q)
        options = {"gamma_positive": 1.5, "gamma_negative": 3.0, "shift": 0.1}
        for outputs, from_logits in ((self.logits, True), (p.astype("float32"), False)):
            actual = asymmetric_focal_loss(y, outputs, from_logits=from_logits, **options)
            np.testing.assert_allclose(numpy(actual), expected.mean(-1), rtol=2e-5)


class TestWhatTheyExtend:
    logits = np.random.default_rng(0).normal(size=(16, 5)) * 3
    one_hot = np.eye(5)[np.random.default_rng(1).integers(0, 5, 16)]
    binary = np.random.default_rng(2).integers(0, 2, (16, 5))

    def test_without_their_own_term_they_are_cross_entropy(self):
        expected = numpy(
            categorical_focal_loss(self.one_hot, self.logits, gamma=0.0, from_logits=True)
        )
        for loss, options in (
            (symmetric_cross_entropy_loss, {"alpha": 1.0, "beta": 0.0}),
            (poly_cross_entropy_loss, {"epsilon": 0.0}),
        ):
            actual = loss(self.one_hot, self.logits, from_logits=True, **options)
            np.testing.assert_allclose(numpy(actual), expected, rtol=1e-6)

    def test_without_a_shift_equal_gammas_are_focal(self):
        expected = numpy(focal_loss(self.binary, self.logits, gamma=2.0, from_logits=True))
        for shift in (0.0, 1e-300):
            actual = asymmetric_focal_loss(
                self.binary,
                self.logits,
                gamma_positive=2.0,
                gamma_negative=2.0,
                shift=shift,
                from_logits=True,
            )
            np.testing.assert_allclose(numpy(actual), expected, rtol=1e-5)

    @pytest.mark.parametrize("shift", [1e-29, 1e-10, 1e-5, 0.5, 0.999])
    @pytest.mark.parametrize("gamma", [0.0, 0.5, 4.0])
    def test_any_shift_is_finite(self, shift, gamma):
        z = np.linspace(-1e4, 1e4, 41, dtype="float32")[:, None]
        z = np.concatenate([z, np.linspace(-90, 90, 361, dtype="float32")[:, None]])

        def loss(z):
            return asymmetric_focal_loss(
                np.zeros_like(z) if isinstance(z, np.ndarray) else ops.zeros_like(z),
                z,
                gamma_negative=gamma,
                shift=shift,
                from_logits=True,
            )

        value, slope = numpy(loss(z)), gradient(loss, z)
        assert np.isfinite(value).all()
        assert np.isfinite(slope).all()
        assert (value >= 0).all()
        assert (slope >= 0).all()

    def test_a_negative_below_the_shift_is_spared(self):
        p = np.array([[0.01], [0.049], [0.051], [0.5]], "float32")
        loss = duo.AsymmetricFocal(reduction="sum")
        assert (numpy(asymmetric_focal_loss(np.zeros((4, 1)), p))[:2] == 0).all()
        slope = gradient(lambda p: loss(np.zeros((4, 1)), p), p)
        assert (slope[:2] == 0).all()
        assert (slope[2:] > 0).all()

    @pytest.mark.parametrize("axis", [1, -2])
    def test_any_axis(self, axis):
        y_pred = np.random.default_rng(0).dirichlet(np.ones(3), (2, 4)).astype("float32")
        y = np.eye(3)[np.random.default_rng(1).integers(0, 3, (2, 4))]
        for loss in (duo.SymmetricCrossEntropy, duo.PolyCrossEntropy, duo.AsymmetricFocal):
            expected = numpy(loss(reduction="none")(y, y_pred))
            moved = loss(axis=axis, reduction="none")(
                np.moveaxis(y, -1, axis), np.moveaxis(y_pred, -1, axis)
            )
            np.testing.assert_allclose(numpy(moved), expected, rtol=1e-6)


class TestProperties:
    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(st.floats(-50, 50, width=32), min_size=3, max_size=3),
        st.integers(0, 2),
        st.floats(-10, 10, width=32),
    )
    def test_they_do_not_change_under_a_shift_or_another_order(self, logits, label, shift):
        x, y = np.array([logits], "float32"), np.eye(3)[[label]]
        for loss, options in CATEGORICAL[::3]:
            value = numpy(loss(y, x, from_logits=True, **options))
            moved = numpy(loss(y, x + shift, from_logits=True, **options))
            turned = numpy(loss(y[:, ::-1], x[:, ::-1], from_logits=True, **options))
            assert value >= 0
            np.testing.assert_allclose(moved, value, rtol=1e-3, atol=1e-30)
            np.testing.assert_allclose(turned, value, rtol=1e-5, atol=1e-30)

    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.floats(-30, 30, width=32), min_size=3, max_size=3))
    def test_a_wrong_label_cannot_pull_without_end(self, logits):
        """The reverse term alone is bounded, whatever the prediction."""
        x = np.array([logits], "float32")
        value = numpy(symmetric_cross_entropy_loss([[1, 0, 0]], x, alpha=0.0, from_logits=True))
        assert 0 <= value <= 4.0 + 1e-5


def test_a_model_trains_past_wrong_labels():
    """With two fifths of the labels wrong, the right class is still found."""
    random = np.random.default_rng(0)
    x = random.normal(size=(300, 3)).astype("float32")
    right = x.argmax(-1)
    given_labels = np.where(random.uniform(size=300) < 0.4, random.integers(0, 3, 300), right)
    for loss in (duo.SymmetricCrossEntropy(), duo.PolyCrossEntropy(), duo.AsymmetricFocal()):
        activation = "sigmoid" if isinstance(loss, duo.AsymmetricFocal) else "softmax"
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, activation)])
        model.compile(keras.optimizers.Adam(0.05), loss)
        model.fit(x, np.eye(3)[given_labels], batch_size=64, epochs=20, verbose=0)
        assert (numpy(model(x)).argmax(-1) == right).mean() > 0.9

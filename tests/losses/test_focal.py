"""The focal losses against 60-digit arithmetic, against Keras, and in models that train."""

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
    categorical_focal_loss,
    focal_loss,
    sparse_categorical_focal_loss,
)
from tests.backend import BACKEND, compiled, gradient, numpy, value_and_slope

GAMMAS = (0.0, 0.5, 1.0, 2.0, 5.0)
MARGINS = (0.0, 1e-6, 1e-3, 0.1, 0.7, 1, 3, 8, 12, 15.9, 17, 20, 29, 40, 58, 80, 1e2, 1e3, 1e4)
TINY = {"float32": 2.0**-126, "float16": 2.0**-14, "bfloat16": 2.0**-126}
LARGEST = {"float32": 1e4, "float16": 6e4, "bfloat16": 6e4}
# What a slope in half precision may be off by is the rounding of the result.
BARS = {"float32": 1e-5, "float16": 1.1e-3, "bfloat16": 8.5e-3}


def exact(margin, gamma):
    """The loss and its slope in the margin m: p = 1 / (1 + exp(-m))."""
    with mpmath.workdps(60):
        margin = mpmath.mpf(float(margin))
        wrong = 1 / (1 + mpmath.exp(margin))
        right = 1 / (1 + mpmath.exp(-margin))
        cross_entropy = mpmath.log1p(mpmath.exp(-margin))
        faded = wrong**gamma
        return faded * cross_entropy, -faded * (gamma * right * cross_entropy + wrong)


def assert_exact(actual, expected, rtol, tiny):
    """Relative error within `rtol`. Next to the smallest normal number, where one part of a sum may
    be flushed to zero, only smallness is asked."""
    for got, want in zip(np.ravel(actual), np.ravel(expected), strict=True):
        assert np.isfinite(got)
        if abs(want) >= 16 * tiny:
            assert abs(got - want) <= rtol * abs(want), (got, float(want))
        else:
            assert abs(got) <= 32 * tiny


def in_every_dtype(cases):
    """Each case in float32, and one in half precision, which is widened before all else."""
    return [
        *(("float32", case) for case in cases),
        *((dtype, cases[-1]) for dtype in ("float16", "bfloat16")),
    ]


def modes(function):
    # A graph without XLA runs the kernels of an eager call.
    return {"eager": function, "xla": compiled(function, xla=True)}.items()


def binary_cases(dtype):
    """Logits that `dtype` can hold, each with both labels."""
    magnitudes = {*MARGINS, LARGEST[dtype]}
    logits = numpy(ops.cast(sorted({*magnitudes, *(-m for m in magnitudes)}), dtype))
    return np.repeat(logits, 2)[:, None], np.tile([0.0, 1.0], len(logits))[:, None]


def categorical_cases(dtype):
    """Rows whose label leads or trails by each margin, among equal and unequal other classes."""
    rows = []
    for margin, sign in itertools.product({*MARGINS, LARGEST[dtype]}, (-1, 1)):
        for others in ((0.0,), (0.0, 0.0, 0.0), (0.0, -2.5, -1e3, -LARGEST[dtype])):
            row = [sign * margin, *others]
            rows.append(row + [-LARGEST[dtype]] * (5 - len(row)))
    return numpy(ops.cast(rows, dtype))


def exact_categorical(row, gamma):
    """Loss and gradient where class 0 is the label."""
    with mpmath.workdps(60):
        others = [mpmath.exp(mpmath.mpf(float(z))) for z in row[1:]]
        margin = mpmath.mpf(float(row[0])) - mpmath.log(mpmath.fsum(others))
        wrong = 1 / (1 + mpmath.exp(margin))
        right = 1 / (1 + mpmath.exp(-margin))
        cross_entropy = mpmath.log1p(mpmath.exp(-margin))
        slope = -(wrong**gamma) * (gamma * right * cross_entropy + wrong)
        shares = [other / mpmath.fsum(others) for other in others]
        return wrong**gamma * cross_entropy, [slope, *(-slope * share for share in shares)]


@pytest.mark.parametrize(("dtype", "gamma"), in_every_dtype(GAMMAS))
class TestAgainstSixtyDigits:
    """The bars: float32 within 1e-5; half-precision gradients within their own rounding."""

    def test_binary(self, gamma, dtype):
        logits, labels = binary_cases(dtype)
        signed = np.where(labels == 1, logits, -logits)
        truth = [exact(margin, gamma) for margin in signed[:, 0]]
        slopes = [
            slope * (1 if y == 1 else -1) for (_, slope), y in zip(truth, labels, strict=True)
        ]
        x = ops.cast(logits, dtype)

        def loss(x):
            return focal_loss(labels, x, gamma=gamma, from_logits=True)

        for _, run in modes(value_and_slope(loss)):
            value, slope = run(x)
            assert_exact(numpy(value), [value for value, _ in truth], 1e-5, TINY["float32"])
            assert_exact(numpy(slope), slopes, BARS[dtype], TINY[dtype])

    def test_categorical_and_sparse(self, gamma, dtype):
        rows = categorical_cases(dtype)
        truth = [exact_categorical(row, gamma) for row in rows]
        x = ops.cast(rows, dtype)
        one_hot, ids = np.eye(5)[np.zeros(len(rows), int)], np.zeros(len(rows), int)
        for loss in (
            lambda x: categorical_focal_loss(one_hot, x, gamma=gamma, from_logits=True),
            lambda x: sparse_categorical_focal_loss(ids, x, gamma=gamma, from_logits=True),
        ):
            for _, run in modes(value_and_slope(loss)):
                value, slope = run(x)
                assert_exact(numpy(value), [value for value, _ in truth], 1e-5, TINY["float32"])
                expected = [slopes for _, slopes in truth]
                assert_exact(numpy(slope), expected, BARS[dtype], TINY[dtype])


class TestAgainstKeras:
    """In the range where Keras' own losses are exact."""

    logits = np.random.default_rng(0).normal(size=(64, 5)).astype("float32") * 2
    binary = np.random.default_rng(1).integers(0, 2, (64, 5)).astype("float32")
    ids = np.random.default_rng(2).integers(0, 5, 64)
    one_hot = np.eye(5, dtype="float32")[ids]
    soft = np.random.default_rng(3).dirichlet(np.ones(5), 64).astype("float32")

    def agree(self, ours, keras_loss, y, y_pred):
        np.testing.assert_allclose(
            numpy(ours(y, y_pred)), numpy(keras_loss(y, y_pred)), rtol=2e-6, atol=1e-7
        )

    @pytest.mark.parametrize("smoothing", [0.0, 0.1])
    @pytest.mark.parametrize("from_logits", [True, False])
    def test_gamma_zero_is_cross_entropy(self, smoothing, from_logits):
        options = {"from_logits": from_logits, "label_smoothing": smoothing}
        wide = self.logits if from_logits else numpy(ops.sigmoid(self.logits)).astype("float32")
        for y in (self.binary, self.soft):
            self.agree(
                duo.Focal(gamma=0, **options), keras.losses.BinaryCrossentropy(**options), y, wide
            )
        wide = self.logits if from_logits else numpy(ops.softmax(self.logits)).astype("float32")
        for y in (self.one_hot, self.soft):
            self.agree(
                duo.CategoricalFocal(gamma=0, **options),
                keras.losses.CategoricalCrossentropy(**options),
                y,
                wide,
            )
        self.agree(
            duo.SparseCategoricalFocal(gamma=0, from_logits=from_logits),
            keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits),
            self.ids,
            wide,
        )

    def test_unnormalised_probabilities_are_normalised(self):
        y_pred = 3.0 * numpy(ops.softmax(self.logits)).astype("float32")
        self.agree(
            duo.CategoricalFocal(gamma=0),
            keras.losses.CategoricalCrossentropy(),
            self.one_hot,
            y_pred,
        )

    @pytest.mark.parametrize("gamma", [1.0, 2.0, 3.5])
    def test_hard_labels_give_keras_focal_cross_entropy(self, gamma):
        self.agree(
            duo.Focal(gamma, alpha=0.3, from_logits=True),
            keras.losses.BinaryFocalCrossentropy(
                apply_class_balancing=True, alpha=0.3, gamma=gamma, from_logits=True
            ),
            self.binary,
            self.logits,
        )
        self.agree(
            duo.CategoricalFocal(gamma, alpha=0.25, from_logits=True),
            keras.losses.CategoricalFocalCrossentropy(gamma=gamma, from_logits=True),
            self.one_hot,
            self.logits,
        )

    def test_ignore_class_leaves_the_mean(self):
        self.agree(
            duo.SparseCategoricalFocal(gamma=0, from_logits=True, ignore_class=2),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=2),
            self.ids,
            self.logits,
        )


class TestLabels:
    """Soft labels, smoothing, balance and ids, from the definition in float64."""

    logits = np.random.default_rng(0).normal(size=(32, 4)) * 3

    def test_soft_binary_labels(self):
        y = np.random.default_rng(1).uniform(size=(32, 4))
        p = 1 / (1 + np.exp(-self.logits))
        right = y * p + (1 - y) * (1 - p)
        smooth = 0.8 * y + 0.1
        cross_entropy = -(smooth * np.log(p) + (1 - smooth) * np.log1p(-p))
        balance = y * 0.3 + (1 - y) * 0.7
        expected = (balance * (1 - right) ** 1.5 * cross_entropy).mean(-1)
        actual = focal_loss(
            y, self.logits, gamma=1.5, alpha=0.3, from_logits=True, label_smoothing=0.2
        )
        np.testing.assert_allclose(numpy(actual), expected, rtol=1e-5)

    def test_soft_categorical_labels(self):
        y = np.random.default_rng(1).dirichlet(np.ones(4), 32)
        weight = np.array([1.0, 0.0, 2.0, 0.5])
        p = np.exp(self.logits) / np.exp(self.logits).sum(-1, keepdims=True)
        smooth = 0.8 * y + 0.05
        expected = (
            (y * weight).sum(-1) * (1 - (y * p).sum(-1)) ** 1.5 * -(smooth * np.log(p)).sum(-1)
        )
        actual = categorical_focal_loss(
            y, self.logits, gamma=1.5, alpha=weight, from_logits=True, label_smoothing=0.2
        )
        np.testing.assert_allclose(numpy(actual), expected, rtol=1e-5)

    def test_nearly_hard_labels_continue_hard_ones(self):
        for nearly, hard in ((1 - 1e-6, 1.0), (1e-6, 0.0)):
            y = np.full((32, 4), nearly)
            hard = numpy(focal_loss(np.full((32, 4), hard), self.logits, from_logits=True))
            np.testing.assert_allclose(
                numpy(focal_loss(y, self.logits, from_logits=True)), hard, rtol=1e-3
            )

    def test_smoothing_keeps_a_learned_example_in_play(self):
        """Cross-entropy with a smoothed target is not 0 where p_t is 1 to rounding."""
        value = focal_loss([[1.0]], [[100.0]], gamma=0.5, from_logits=True, label_smoothing=0.1)
        expected = np.exp(-50.0) * 0.05 * 100.0
        np.testing.assert_allclose(numpy(value), [expected], rtol=1e-5)

    def test_a_row_without_a_label_is_worth_nothing(self):
        y_pred = np.array([[3.0, -1.0, 0.5]], "float32")

        def loss(p):
            return categorical_focal_loss(np.zeros((1, 3)), p, from_logits=True)

        assert numpy(loss(y_pred)) == [0.0]
        assert (gradient(loss, y_pred) == 0).all()

    @pytest.mark.parametrize("bad_id", [-1, 4, 300])
    def test_an_unknown_id_gives_nan(self, bad_id):
        for xla in (False, True):
            run = compiled(
                lambda p: sparse_categorical_focal_loss([1, bad_id], p, from_logits=True), xla=xla
            )
            value = numpy(run(ops.cast(self.logits[:2], "float32")))
            assert np.isfinite(value[0])
            assert np.isnan(value[1])

    def test_everything_ignored_is_zero(self):
        loss = duo.SparseCategoricalFocal(from_logits=True, ignore_class=-1)
        assert numpy(loss(np.full(32, -1), self.logits)) == 0.0

    @pytest.mark.parametrize("axis", [1, 2, 3, -1, -3])
    def test_any_axis(self, axis):
        y_pred = np.random.default_rng(0).dirichlet(np.ones(3), (2, 3, 3)).astype("float32")
        ids = np.random.default_rng(1).integers(0, 3, (2, 3, 3))
        moved = np.moveaxis(y_pred, -1, axis)
        one_hot = np.moveaxis(np.eye(3)[ids], -1, axis)
        for loss, labels, last in (
            (duo.Focal, one_hot, np.eye(3)[ids]),
            (duo.CategoricalFocal, one_hot, np.eye(3)[ids]),
            (duo.SparseCategoricalFocal, ids, ids),
        ):
            expected = loss(alpha=[0.1, 0.5, 0.9], reduction="none")(last, y_pred)
            actual = loss(alpha=[0.1, 0.5, 0.9], axis=axis, reduction="none")(labels, moved)
            np.testing.assert_allclose(numpy(actual), numpy(expected), rtol=1e-6)

    def test_a_balance_of_the_wrong_length_is_an_error(self):
        for loss, y in ((duo.Focal, np.zeros((2, 4))), (duo.CategoricalFocal, np.eye(4)[:2])):
            with pytest.raises(ValueError, match="`alpha` must be one number, or one for each of"):
                loss(alpha=[0.5, 0.5, 0.5])(y, self.logits[:2])


class TestProbabilities:
    """What a sigmoid or softmax leaves of a logit, and what Keras kept beside it."""

    def test_edges(self):
        above_one = np.nextafter(np.float32(1), np.float32(2))
        y_pred = np.array([[0.0], [1.0], [above_one], [1e-45]], "float32")
        for label, gamma in itertools.product((0.0, 1.0), GAMMAS):

            def loss(p, label=label, gamma=gamma):
                return focal_loss(np.full((4, 1), label), p, gamma=gamma)

            value, slope = numpy(loss(y_pred)), gradient(loss, y_pred)
            assert np.isfinite(value).all()
            assert np.isfinite(slope).all()
            wrong = [0, 3] if label else [1, 2]
            assert (value[wrong] > 50).all()

    @pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
    @pytest.mark.skipif(BACKEND != "tensorflow", reason="only TensorFlow keeps the logits")
    def test_cached_logits_reach_the_hardest_example(self, policy):
        """Keras' own categorical focal loss is capped there at 16.118, with gradient 0."""
        keras.config.set_dtype_policy(policy)
        for activation, loss, y in (
            ("softmax", duo.CategoricalFocal(), np.array([[1.0, 0.0]])),
            ("softmax", duo.SparseCategoricalFocal(), np.array([0])),
            ("sigmoid", duo.Focal(), np.array([[1.0, 1.0]])),
        ):
            entry = keras.Input((2,))
            model = keras.Model(entry, keras.layers.Activation(activation)(entry))

            def value(x, model=model, loss=loss, y=y):
                return loss(y, model(x))

            x = ops.convert_to_tensor([[-200.0, 200.0]])
            expected = 400.0 if activation == "softmax" else 100.0
            for mode, run in modes(value):
                assert numpy(run(x)) == pytest.approx(expected, rel=1e-6), mode
            assert abs(gradient(value, x)).max() > 0.4

    @pytest.mark.skipif(BACKEND != "tensorflow", reason="only TensorFlow keeps the logits")
    def test_a_softmax_before_from_logits_is_told_and_repaired(self):
        logits = np.array([[2.0, -1.0]], "float32")
        probabilities = keras.activations.softmax(ops.convert_to_tensor(logits))
        with pytest.warns(UserWarning, match="`from_logits=True`, but the model already ends in"):
            value = duo.CategoricalFocal(from_logits=True)([[0, 1]], probabilities)
        expected = duo.CategoricalFocal(from_logits=True)([[0, 1]], logits)
        assert numpy(value) == pytest.approx(numpy(expected))


vectors = st.lists(st.floats(-50, 50, width=32), min_size=3, max_size=3)


class TestProperties:
    @settings(max_examples=60)
    @given(vectors, st.integers(0, 2), st.sampled_from(GAMMAS), st.floats(-10, 10, width=32))
    def test_categorical(self, logits, label, gamma, shift):
        x, y = np.array([logits], "float32"), np.eye(3)[[label]]
        value = numpy(categorical_focal_loss(y, x, gamma=gamma, from_logits=True))
        assert value >= 0
        # The same for class ids, under a shift of the logits, and for any order of the classes.
        same = numpy(sparse_categorical_focal_loss([label], x, gamma=gamma, from_logits=True))
        moved = numpy(categorical_focal_loss(y, x + shift, gamma=gamma, from_logits=True))
        turned = categorical_focal_loss(y[:, ::-1], x[:, ::-1], gamma=gamma, from_logits=True)
        np.testing.assert_allclose(same, value, rtol=1e-5, atol=1e-30)
        np.testing.assert_allclose(moved, value, rtol=2e-4, atol=1e-30)
        np.testing.assert_allclose(numpy(turned), value, rtol=1e-5, atol=1e-30)
        # A larger gamma never raises it.
        more = numpy(categorical_focal_loss(y, x, gamma=gamma + 1, from_logits=True))
        assert more <= value

    @settings(max_examples=60)
    @given(st.floats(-50, 50, width=32), st.integers(0, 1024), st.sampled_from(GAMMAS))
    def test_binary_is_categorical_with_two_classes(self, logit, part, gamma):
        label = part / 1024  # so that 1 - label is exact in float32
        binary = focal_loss([[label]], [[logit]], gamma=gamma, from_logits=True)
        categorical = categorical_focal_loss(
            [[1 - label, label]], [[0.0, logit]], gamma=gamma, from_logits=True
        )
        np.testing.assert_allclose(numpy(binary), numpy(categorical), rtol=1e-4, atol=1e-30)


def test_a_model_trains_to_the_label():
    """Through `compile` and `fit`, from class ids, with a partial last batch."""
    x = np.random.default_rng(0).normal(size=(90, 4)).astype("float32")
    y = x[:, :3].argmax(-1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    model.compile(keras.optimizers.Adam(0.05), duo.SparseCategoricalFocal(), metrics=["accuracy"])
    history = model.fit(x, y, batch_size=32, epochs=30, verbose=0).history
    assert history["accuracy"][-1] > 0.9
    assert history["loss"][-1] < 0.3 * history["loss"][0]

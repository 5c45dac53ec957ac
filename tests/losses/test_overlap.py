"""The overlap losses against their definitions, one value an example."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from sklearn.metrics import f1_score, jaccard_score

import keras_duo as duo
from keras_duo.losses import dice_loss, focal_tversky_loss, tversky_loss
from tests.backend import BACKEND, compiled, gradient, numpy

LOSSES = (duo.Tversky, duo.Dice, duo.FocalTversky)
RANDOM = np.random.default_rng(0)
MASKS = RANDOM.integers(0, 2, (6, 5, 4, 3)).astype("float64")
OUTPUTS = RANDOM.uniform(size=(6, 5, 4, 3))
IDS = RANDOM.integers(0, 3, (6, 5, 4))


def tversky(y, p, alpha, beta, smooth):
    """1 - the index, as the paper has it, for each class of each example."""
    hit, added, missed = (
        (term).reshape(len(y), -1, y.shape[-1]).sum(1) for term in (y * p, (1 - y) * p, y * (1 - p))
    )
    return 1 - (hit + smooth) / (hit + alpha * added + beta * missed + smooth)


class TestAgainstTheDefinition:
    @pytest.mark.parametrize("smooth", [0.0, 1.0, 20.0])
    @pytest.mark.parametrize(("alpha", "beta"), [(0.5, 0.5), (0.3, 0.7), (1.0, 0.0)])
    def test_tversky(self, alpha, beta, smooth):
        expected = tversky(MASKS, OUTPUTS, alpha, beta, smooth)
        options = {"alpha": alpha, "beta": beta, "smooth": smooth}
        np.testing.assert_allclose(
            numpy(tversky_loss(MASKS, OUTPUTS, **options)), expected.mean(-1), rtol=1e-5
        )
        focal = focal_tversky_loss(MASKS, OUTPUTS, gamma=1.5, **options)
        np.testing.assert_allclose(numpy(focal), (expected ** (1 / 1.5)).mean(-1), rtol=1e-5)

    def test_dice_is_one_less_f1_and_jaccard_is_tversky(self):
        decisions = (OUTPUTS > 0.5).astype("float64")
        dice = numpy(dice_loss(MASKS, decisions, smooth=0.0))
        jaccard = numpy(tversky_loss(MASKS, decisions, alpha=1.0, beta=1.0, smooth=0.0))
        for i in range(6):
            y, p = MASKS[i].reshape(-1, 3), decisions[i].reshape(-1, 3)
            assert dice[i] == pytest.approx(1 - f1_score(y, p, average="macro"), rel=1e-5)
            assert jaccard[i] == pytest.approx(1 - jaccard_score(y, p, average="macro"), rel=1e-5)

    def test_alpha_weighs_false_positives(self):
        """Keras 3.15 has the two the other way round."""
        y, added, missed = np.array([[1, 0.0]]), np.array([[1, 1.0]]), np.array([[0, 0.0]])
        options = {"alpha": 0.2, "beta": 0.8, "smooth": 0.0, "axis": None}
        assert numpy(tversky_loss(y, added, **options)) == pytest.approx(0.2 / 1.2)
        assert numpy(tversky_loss(y, missed, **options)) == pytest.approx(1.0)
        assert numpy(tversky_loss(y, 0.5 * y, **options)) == pytest.approx(0.4 / 0.9)

    def test_no_example_changes_another(self):
        """Keras' own Dice gives one number for the batch."""
        for loss in LOSSES:
            each = numpy(loss(reduction="none")(MASKS, OUTPUTS))
            assert each.shape == (6,)
            np.testing.assert_allclose(
                numpy(loss()(MASKS, OUTPUTS, np.arange(6))), (each * np.arange(6)).mean(), rtol=1e-5
            )

    def test_axis_none_is_one_region(self):
        flat = tversky(MASKS.reshape(6, -1, 1), OUTPUTS.reshape(6, -1, 1), 0.5, 0.5, 1.0)[:, 0]
        for shape in ((6, 5, 4, 3), (6, 60)):
            actual = dice_loss(MASKS.reshape(shape), OUTPUTS.reshape(shape), axis=None)
            np.testing.assert_allclose(numpy(actual), flat, rtol=1e-5)
        with pytest.raises(ValueError, match="set `axis=None`"):
            dice_loss(MASKS.reshape(6, 60), OUTPUTS.reshape(6, 60))

    @pytest.mark.parametrize("axis", [1, 2, 3, -2])
    def test_any_axis(self, axis):
        for loss in LOSSES:
            expected = numpy(loss()(MASKS, OUTPUTS))
            for last in (MASKS, IDS):
                labels = last if last is IDS else np.moveaxis(MASKS, -1, axis)
                expected = numpy(loss()(last, OUTPUTS))
                moved = loss(axis=axis)(labels, np.moveaxis(OUTPUTS, -1, axis))
                np.testing.assert_allclose(numpy(moved), expected, rtol=1e-5)


class TestLabels:
    def test_class_ids_are_one_mask_a_class(self):
        for loss in LOSSES:
            expected = numpy(loss()(np.eye(3)[IDS], OUTPUTS))
            for ids in (IDS, IDS[..., None], IDS.astype("uint8"), IDS.astype("float32")):
                np.testing.assert_allclose(numpy(loss()(ids, OUTPUTS)), expected, rtol=1e-5)

    def test_ignored_pixels_count_in_no_sum(self):
        keep = RANDOM.uniform(size=(5, 4)) < 0.6
        ids = np.where(keep, IDS, 255)
        masks = np.where(keep[..., None], MASKS, 255)
        for loss in LOSSES:
            for labels, whole in ((ids, IDS), (masks, MASKS)):
                actual = loss(ignore_class=255)(labels, OUTPUTS)
                expected = loss()(whole[:, keep][:, :, None], OUTPUTS[:, keep][:, :, None])
                np.testing.assert_allclose(numpy(actual), numpy(expected), rtol=1e-5)
                slope = gradient(lambda p, y=labels, f=loss: f(ignore_class=255)(y, p), OUTPUTS)
                assert (slope[:, ~keep] == 0).all()
                assert (slope[:, keep] != 0).all()

    def test_an_ignored_class_may_be_one_of_the_outputs(self):
        """The pixels of the background count in no sum; its own mask stays, and is empty."""
        ids, p = np.array([[[0, 1, 2, 1]]]), np.full((1, 1, 4, 3), 1 / 3)
        expected = dice_loss(np.array([[[1, 2, 1]]]), p[:, :, :3])
        np.testing.assert_allclose(numpy(dice_loss(ids, p, ignore_class=0)), numpy(expected))

    def test_an_example_without_a_counted_pixel_leaves_the_mean(self):
        ids = IDS.copy()
        ids[2:] = 255
        for loss in LOSSES:
            expected = numpy(loss()(IDS[:2], OUTPUTS[:2]))
            np.testing.assert_allclose(
                numpy(loss(ignore_class=255)(ids, OUTPUTS)), expected, rtol=1e-5
            )

    def test_an_unknown_id_gives_nan(self):
        for bad in (-1, 3, 255):
            ids = IDS.copy()
            ids[1, 0, 0] = bad
            for loss in LOSSES:
                for xla in (False, True):
                    run = compiled(lambda p, y=ids, f=loss: f(reduction="none")(y, p), xla=xla)
                    value = numpy(run(ops.convert_to_tensor(OUTPUTS)))
                    assert np.isnan(value[1])
                    assert np.isfinite(value[[0, 2, 3, 4, 5]]).all()


class TestLogits:
    logits = RANDOM.normal(size=(6, 5, 4, 3)) * 3

    def test_the_named_activation_is_applied(self):
        for loss in LOSSES:
            for name in ("sigmoid", "softmax"):
                probabilities = getattr(ops, name)(ops.convert_to_tensor(self.logits))
                expected = numpy(loss()(MASKS, numpy(probabilities)))
                actual = numpy(loss(from_logits=name)(MASKS, self.logits))
                np.testing.assert_allclose(actual, expected, rtol=1e-5)

    def test_true_is_sigmoid_for_one_class_and_open_for_more(self):
        for loss in LOSSES:
            y, z = MASKS[..., :1], self.logits[..., :1]
            expected = numpy(loss(from_logits="sigmoid")(y, z))
            assert numpy(loss(from_logits=True)(y, z)) == expected
            found = numpy(loss(from_logits=True, axis=None)(y, z))
            assert found == pytest.approx(expected, rel=1e-6)  # another order of the sum
            with pytest.raises(ValueError, match="`from_logits` must name the activation"):
                loss(from_logits=True)(MASKS, self.logits)
            with pytest.raises(ValueError, match="at least 2 classes"):
                loss(from_logits="softmax")(y, z)

    def test_a_missed_pixel_has_a_gradient_at_any_logit(self):
        """And a found one keeps its digits, where 1 - p would be 0."""
        z = np.array([[[20.0]], [[30.0]], [[60.0]]], "float32")
        value = numpy(dice_loss(np.ones((3, 1, 1)), z, smooth=0.0, from_logits=True))
        np.testing.assert_allclose(value, 0.5 * np.exp(-z[:, 0, 0]), rtol=1e-5)
        slope = gradient(
            lambda z: dice_loss(np.ones((3, 1, 1)), z, smooth=0.0, from_logits=True), z
        )
        np.testing.assert_allclose(slope, -0.5 * np.exp(-z), rtol=1e-5)

    @pytest.mark.skipif(BACKEND != "tensorflow", reason="only TensorFlow keeps the logits")
    def test_a_sigmoid_before_from_logits_is_told_and_repaired(self):
        y, z = MASKS[..., :1], ops.convert_to_tensor(self.logits[..., :1])
        with pytest.warns(UserWarning, match="`from_logits=True`, but the model already ends in"):
            value = duo.Dice(from_logits=True)(y, keras.activations.sigmoid(z))
        assert numpy(value) == numpy(duo.Dice(from_logits=True)(y, z))


class TestEdges:
    @pytest.mark.parametrize("smooth", [0.0, 1e-7, 1.0])
    @pytest.mark.parametrize("gamma", [0.5, 4 / 3, 3.0])
    def test_an_empty_mask_predicted_empty_is_right(self, smooth, gamma):
        y = np.zeros((2, 4, 1))
        for loss in (
            duo.Tversky(smooth=smooth),
            duo.Dice(smooth=smooth),
            duo.FocalTversky(gamma, smooth=smooth),
        ):
            assert numpy(loss(y, y.astype("float32"))) == 0.0
            assert np.isfinite(gradient(lambda p, f=loss: f(y, p), y.astype("float32"))).all()

    @pytest.mark.parametrize("gamma", [4 / 3, 3.0])
    def test_a_perfect_mask_is_right_with_a_finite_gradient(self, gamma):
        loss = duo.FocalTversky(gamma)
        assert numpy(loss(MASKS, MASKS.astype("float32"))) == 0.0
        slope = gradient(lambda p: loss(MASKS, p), MASKS.astype("float32"))
        assert np.isfinite(slope).all()
        assert (slope[MASKS == 1] < 0).all()
        assert (slope[MASKS == 0] > 0).all()

    def test_a_large_half_precision_image_is_summed_in_float32(self):
        p = ops.cast(np.full((1, 512, 512, 1), 0.5), "float16")
        np.testing.assert_allclose(
            numpy(duo.Dice(smooth=0.0, dtype="float16")(np.ones((1, 512, 512, 1)), p)), 1 / 3
        )

    def test_a_nan_is_not_passed_over(self):
        broken = np.where(np.arange(6)[:, None, None, None] == 1, np.nan, OUTPUTS)
        for loss in LOSSES:
            assert np.isnan(numpy(loss()(MASKS, broken)))
            weights = np.arange(6) != 1
            expected = numpy(loss()(MASKS, OUTPUTS, weights))
            np.testing.assert_allclose(numpy(loss()(MASKS, broken, weights)), expected, rtol=1e-6)


class TestProperties:
    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), min_size=1, max_size=12))
    def test_values_lie_between_nothing_and_all(self, pixels):
        y, p = np.array(pixels).T[:, None, :, None]
        for loss in LOSSES:
            value = numpy(loss()(y, p))
            assert 0 <= value <= 1
            assert numpy(loss()(y[:, ::-1], p[:, ::-1])) == pytest.approx(value, rel=1e-5)
            # More of the right answer is never worse.
            assert numpy(loss()(y, 0.5 * (y + p))) <= value + 1e-6


def test_a_model_trains_to_the_mask():
    """A rare region, through `compile` and `fit`, from class ids, with a partial last batch."""
    random = np.random.default_rng(0)
    x = random.normal(size=(50, 8, 8, 1)).astype("float32")
    ids = (x[..., 0] > 1.5).astype("int32")
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(2, 1)])
    model.compile(keras.optimizers.Adam(0.1), duo.Dice(from_logits="softmax"))
    history = model.fit(x, ids, batch_size=16, epochs=30, verbose=0).history
    assert history["loss"][-1] < 0.3 * history["loss"][0]
    assert f1_score(ids.ravel(), numpy(model(x)).argmax(-1).ravel()) > 0.9

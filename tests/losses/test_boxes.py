"""The box losses against their definitions in float64, and at the boxes that break others."""

import itertools
import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from keras import ops

import keras_duo as duo
from keras_duo.losses import ciou_loss, diou_loss, giou_loss, iou_loss
from tests.backend import compiled, gradient, has_float64, numpy, value_and_slope

FUNCTIONS = {"iou": iou_loss, "giou": giou_loss, "diou": diou_loss, "ciou": ciou_loss}
RANGES = {"iou": 1, "giou": 2, "diou": 2, "ciou": 3}
# JAX computes in float32.
EXACT = 1e-12 if has_float64() else 1e-5


def definition(measure, true, pred, alpha=None):
    """The loss of one pair of xyxy boxes as the papers write it. `alpha`: CIoU's, held."""
    (a, b, c, d), (e, f, g, h) = (map(float, true)), (map(float, pred))
    inter = max(0.0, min(c, g) - max(a, e)) * max(0.0, min(d, h) - max(b, f))
    union = (c - a) * (d - b) + (g - e) * (h - f) - inter
    wide, high = max(c, g) - min(a, e), max(d, h) - min(b, f)
    loss = 1 - inter / union
    if measure == "giou":
        return loss + (wide * high - union) / (wide * high)
    if measure in ("diou", "ciou"):
        between = ((a + c - e - g) / 2) ** 2 + ((b + d - f - h) / 2) ** 2
        distance = between / (wide**2 + high**2)
    if measure == "diou":
        return loss + distance
    if measure == "ciou":
        v = 4 / math.pi**2 * (math.atan((c - a) / (d - b)) - math.atan((g - e) / (h - f))) ** 2
        alpha = v / (loss + v) if alpha is None else alpha
        return loss + distance + alpha * v
    return loss


def trade_off(true, pred):
    """CIoU's alpha, from the part of the loss that it scales."""
    held = [definition("ciou", true, pred, alpha) for alpha in (0.0, 1.0)]
    v = held[1] - held[0]
    return v / (definition("iou", true, pred) + v)


def random_boxes(count=200, seed=0):
    """Pairs that overlap, touch the same sides, contain each other, or lie apart."""
    random = np.random.default_rng(seed)
    low = random.uniform(-3, 3, (2, count, 2))
    return np.concatenate([low, low + random.uniform(0.1, 4, (2, count, 2))], axis=-1)


@pytest.mark.parametrize("measure", FUNCTIONS)
class TestAgainstTheDefinition:
    def test_values(self, measure):
        true, pred = random_boxes()
        expected = [definition(measure, t, p) for t, p in zip(true, pred, strict=True)]
        for run in modes(FUNCTIONS[measure]):
            np.testing.assert_allclose(numpy(run(true, pred)), expected, rtol=EXACT, atol=EXACT)
        assert any(value > 1 for value in expected) or measure == "iou"

    def test_integer_grid_by_counting_cells(self, measure):
        """IoU and the hull by brute force: cells of a 6 x 6 grid that each box covers."""
        if measure not in ("iou", "giou"):
            pytest.skip("areas only")
        random = np.random.default_rng(1)
        sides = np.sort(random.permuted(np.tile(np.arange(7), (2, 200, 2, 1)), axis=-1)[..., :2])
        boxes = np.concatenate([sides[..., 0], sides[..., 1]], axis=-1)

        def cells(box):
            grid = np.zeros((6, 6), bool)
            grid[box[0] : box[2], box[1] : box[3]] = True
            return grid

        expected = []
        for true, pred in zip(*boxes, strict=True):
            a, b = cells(true), cells(pred)
            hull = cells([*np.minimum(true, pred)[:2], *np.maximum(true, pred)[2:]])
            expected.append(1 - (a & b).sum() / (a | b).sum())
            if measure == "giou":
                expected[-1] += 1 - (a | b).sum() / hull.sum()
        value = numpy(FUNCTIONS[measure](boxes[0], boxes[1].astype("float32")))
        np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-7)

    def test_gradients(self, measure):
        """Against central differences of the definition, CIoU's alpha held where it was."""
        true, pred = random_boxes(60)
        slopes = gradient(lambda p: FUNCTIONS[measure](true, p), pred)
        step = 1e-6
        for t, p, slope in zip(true, pred, slopes, strict=True):
            alpha = trade_off(t, p)
            for i in range(4):
                ahead, behind = p + step * np.eye(4)[i], p - step * np.eye(4)[i]
                expected = (
                    definition(measure, t, ahead, alpha) - definition(measure, t, behind, alpha)
                ) / (2 * step)
                assert slope[i] == pytest.approx(expected, rel=1e-4, abs=1e-6)

    def test_published_values(self, measure):
        """Values that the tests of torchvision.ops give for its losses of the same names."""
        outer, corner, above, diagonal = [-1, -1, 1, 1], [0, 0, 1, 1], [0, 1, 1, 2], [1, 1, 2, 2]
        known = {
            "iou": [(outer, outer, 0.0), (outer, corner, 0.75), (corner, diagonal, 1.0)],
            "giou": [
                (outer, outer, 0.0),
                (outer, corner, 0.75),
                (corner, above, 1.0),
                (corner, diagonal, 1.5),
            ],
            "diou": [(outer, corner, 0.8125), (outer, above, 1.1923), (outer, diagonal, 1.25)],
            "ciou": [(outer, corner, 0.8125), (outer, above, 1.1923), (outer, diagonal, 1.25)],
        }[measure]
        for dtype, (true, pred, expected) in itertools.product(("float32", "float16"), known):
            value = FUNCTIONS[measure]([true], ops.cast([pred], dtype))
            np.testing.assert_allclose(numpy(value), [expected], atol=5e-5)

    def test_a_perfect_prediction_is_exactly_zero(self, measure):
        """KerasCV scored a perfect (5, 10, 4) prediction .171."""
        boxes = random_boxes(50)[0].reshape(5, 10, 4)
        for fmt in ("xyxy", "rel_yxyx", "xywh", "center_xywh"):
            given = np.abs(boxes)

            def loss(p, given=given, fmt=fmt):
                return FUNCTIONS[measure](given, p, bounding_box_format=fmt)

            runs = [value_and_slope(loss)]
            if fmt == "center_xywh":  # XLA may round a product and a sum as one
                runs.append(compiled(runs[0], xla=True))
            for run in runs:
                value, slope = run(ops.convert_to_tensor(given, dtype="float32"))
                assert value.shape == (5, 10)
                assert (numpy(value) == 0).all()
                assert (numpy(slope) == 0).all()

    def test_a_nearly_perfect_one_keeps_its_digits(self, measure):
        """1 - I / U leaves none of them in float32."""
        for shift in (1e-3, 1e-6, 1e-9):
            value = FUNCTIONS[measure]([[0.0, 0.0, 1.0, 1.0]], np.float32([[shift, 0.0, 1.0, 1.0]]))
            extra = {"diou": shift**2 / 8, "ciou": shift**2 / 8}.get(measure, 0.0)
            assert numpy(value)[0] == pytest.approx(shift + extra, rel=1e-4)

    def test_size_does_not_count(self, measure):
        """Products of 1e-20 underflow float32, those of 1e25 overflow it."""
        true, pred = random_boxes(50)
        expected = numpy(FUNCTIONS[measure](true, pred))
        for scale in (1e-30, 1e-20, 1e-3, 1e4, 1e25):
            given = (scale * true).astype("float32"), (scale * pred).astype("float32")
            np.testing.assert_allclose(
                numpy(FUNCTIONS[measure](*given)), expected, rtol=1e-4, atol=1e-5
            )
            slope = gradient(lambda p, t=given[0]: FUNCTIONS[measure](t, p), given[1])
            usual = gradient(lambda p: FUNCTIONS[measure](true, p), pred)
            np.testing.assert_allclose(slope * scale, usual, rtol=1e-3, atol=1e-4)

    def test_pixels_in_half_precision(self, measure):
        """Areas of 1e8 pixels in float16, whose largest number is 65504."""
        true = np.array([[0, 0, 10_000, 10_000], [9_000, 9_000, 10_000, 10_000]])
        pred = ops.cast([[8, 16, 9_000, 8_000], [0, 0, 1_000, 2_000]], "float16")
        expected = [definition(measure, t, p) for t, p in zip(true, numpy(pred), strict=True)]
        np.testing.assert_allclose(numpy(FUNCTIONS[measure](true, pred)), expected, rtol=1e-5)
        slope = gradient(lambda p: FUNCTIONS[measure](true, p), pred)
        assert np.isfinite(slope).all()
        assert (slope[0] != 0).all()

    @pytest.mark.parametrize("scale", [1.0, 1e4, 1e-20, 1e-37])
    def test_degenerate_boxes_are_finite(self, measure, scale):
        """Points, lines, inverted boxes, far and equal ones, each against each."""
        boxes = scale * np.array(
            [
                *([0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 1], [0, 0, 1, 0]),
                *([1, 1, 0, 0], [2, 0, 1, 1], [0, 0, 1, 1], [0.5, 0.5, 0.5, 0.5]),
                *([3, 3, 4, 4], [0, 0, 1e-6, 1], [0, 0, 1e-30, 1e-30], [-1, 0, 2, 1e-12]),
            ]
        )
        true, pred = (np.float32(x) for x in zip(*itertools.product(boxes, boxes), strict=True))
        for fmt in ("xyxy", "xywh", "center_xywh"):

            def loss(p, fmt=fmt):
                return FUNCTIONS[measure](true, p, bounding_box_format=fmt)

            value, slope = numpy(loss(pred)), gradient(loss, pred)
            assert np.isfinite(value).all()
            assert np.isfinite(slope).all()
            assert (value >= 0).all()
            assert (value <= RANGES[measure]).all()
            equal = (true == pred).all(-1)
            assert (value[equal] == 0).all()
        # Different boxes without area share nothing.
        assert numpy(FUNCTIONS[measure](boxes[:1], np.float32(boxes[1:2])))[0] >= 1

    @settings(max_examples=15, deadline=None)
    @given(arrays("float32", (16, 2, 2, 2), elements=st.floats(0, 1, width=32)))
    def test_properties(self, measure, numbers):
        true, pred = np.sort(numbers, axis=-2).reshape(16, 2, 4).swapaxes(0, 1)
        value = numpy(FUNCTIONS[measure](true, pred))
        assert ((value >= 0) & (value <= RANGES[measure])).all()
        # Label and prediction have equal rights; so have x and y, and the two directions of each.
        swapped = FUNCTIONS[measure](pred, true)
        mirrored = [-box[:, [2, 1, 0, 3]] * [1, -1, 1, -1] for box in (true, pred)]
        mirrored = FUNCTIONS[measure](*(np.float32(box) for box in mirrored))
        turned = FUNCTIONS[measure](true, pred, bounding_box_format="yxyx")
        for same in (swapped, mirrored, turned):
            np.testing.assert_allclose(numpy(same), value, rtol=1e-4, atol=1e-6)


def modes(function):
    return function, compiled(function), compiled(function, xla=True)


@pytest.mark.parametrize("measure", FUNCTIONS)
def test_formats_mean_what_keras_says(measure):
    """Keras' own converter from xyxy, the image being 8 high and 16 wide."""
    true, pred = (np.abs(boxes) + 0.125 for boxes in random_boxes(30, seed=2))
    true, pred = (np.concatenate([b[:, :2], b[:, :2] + b[:, 2:]], -1) for b in (true, pred))
    square = {"height": 16, "width": 16}
    for fmt in ("yxyx", "xywh", "center_xywh", "center_yxhw", "rel_xyxy", "REL_YXYX"):
        given = [
            numpy(
                keras.utils.bounding_boxes.convert_format(
                    box.astype("float32"), "xyxy", fmt.lower(), **square
                )
            )
            for box in (true, pred)
        ]
        value = FUNCTIONS[measure](*given, bounding_box_format=fmt)
        np.testing.assert_allclose(
            numpy(value), numpy(FUNCTIONS[measure](true, pred)), rtol=1e-4, atol=1e-6
        )
    # Where overlap is all that counts, so is the shape of the image nothing.
    flat = [box / [16, 8, 16, 8] for box in (true, pred)]
    value = numpy(FUNCTIONS[measure](*flat, bounding_box_format="rel_xyxy"))
    same = np.allclose(value, numpy(FUNCTIONS[measure](true, pred)), rtol=1e-4)
    assert same == (measure in ("iou", "giou"))


@pytest.mark.parametrize(("form", "of"), [("rel_xywh", "xywh"), ("rel_center_xywh", "center_xywh")])
def test_relative_coordinates_are_taken_as_they_are(form, of):
    true, pred = (np.abs(boxes) for boxes in random_boxes(20))
    for function in FUNCTIONS.values():
        relative = numpy(function(true, pred, bounding_box_format=form))
        assert (relative == numpy(function(true, pred, bounding_box_format=of))).all()


def test_boxes_apart_are_pulled_together():
    """IoU has nothing to say there, not even a rounding error; the others move every box."""
    true, pred = np.array([[0.0, 0.0, 1.0, 1.0]]), np.array([[3.0, 4.0, 5.0, 7.0]])
    assert (gradient(lambda p: iou_loss(true, p), pred) == 0).all()
    for function in (giou_loss, diou_loss, ciou_loss):
        slope = gradient(lambda p, function=function: function(true, p), pred)[0]
        assert (slope != 0).all()
        # Down the slope the centre moves towards the label, which is up and to the left.
        assert slope[0] + slope[2] > 0
        assert slope[1] + slope[3] > 0


def test_a_box_without_a_size_is_let_grow():
    """The width of a line inside the label: its two sides are pulled apart."""
    true, line = np.array([[0.0, 0.0, 1.0, 1.0]]), np.array([[0.5, 0.2, 0.5, 0.8]])
    for function in FUNCTIONS.values():
        slope = gradient(lambda p, function=function: function(true, p), line)[0]
        assert slope[0] > 0.5
        assert slope[2] < -0.5
        assert np.isfinite(slope).all()


def test_an_inverted_box_covers_nothing():
    true = np.array([[0.0, 0.0, 1.0, 1.0]])
    for inverted in ([[0.8, 0.8, 0.2, 0.2]], [[0.8, 0.2, 0.2, 0.8]]):
        assert numpy(iou_loss(true, np.array(inverted))) == [1.0]
    assert numpy(giou_loss(true, np.array([[3.0, 0.0, 2.0, 1.0]])))[0] > 1.0


@pytest.mark.parametrize("shape", [(3, 5), (4, 3), (4,), (3, 4, 1)])
def test_a_box_has_four_numbers(shape):
    with pytest.raises(ValueError, match=r"4 numbers of a box.*Received: y_true\.shape="):
        iou_loss(np.zeros(shape), np.zeros(shape))


@pytest.mark.parametrize("loss", [duo.IoU, duo.GIoU, duo.DIoU, duo.CIoU])
def test_the_format_is_checked_when_the_loss_is_made(loss):
    for bad in ("xyx", "rel_center_yxhw", None, 3):
        with pytest.raises(ValueError, match="`bounding_box_format` must be one of xyxy, yxyx"):
            loss(bad)
    assert loss("Center_xyWH").get_config()["bounding_box_format"] == "center_xywh"


@pytest.mark.parametrize("loss", [duo.GIoU, duo.DIoU, duo.CIoU])
def test_a_model_learns_the_box(loss):
    """Through `compile` and `fit`, from small boxes beside most of the labels."""
    y = np.random.default_rng(0).uniform(0.2, 0.8, (256, 1, 4)).astype("float32")
    y = np.tile(y, (20, 1, 1))  # the start of an epoch takes longer than its four steps
    x = 6.0 * (y[:, 0] - 0.5)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(
                4, activation="sigmoid", bias_initializer=keras.initializers.Constant(-1.5)
            ),
            keras.layers.Reshape((1, 4)),
        ]
    )
    model.compile(keras.optimizers.Adam(0.05), loss("rel_center_xywh"))
    model.fit(x, y, batch_size=64, epochs=3, verbose=0)
    assert numpy(duo.IoU("rel_center_xywh")(y, model(x))) < 0.15

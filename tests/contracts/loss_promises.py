"""What every loss promises. Each function takes a `LossCase` and fails where it is broken."""

import inspect
import tempfile
from contextlib import nullcontext
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from tests.backend import BACKEND, compiled, gradient, has_float64, numpy
from tests.contracts.table import variants_of

PROMISES = []


def promise(function):
    PROMISES.append(function)
    return function


def losses(case, **kwargs):
    return [case.make(**variant, **kwargs) for variant in variants_of(case)]


def values(loss, case, y_pred=None, y_true=None):
    """One value an example, through the public call."""
    unreduced = type(loss).from_config({**loss.get_config(), "reduction": "none"})
    y_pred = case.y_pred.astype("float32") if y_pred is None else y_pred
    return unreduced(case.y_true if y_true is None else y_true, y_pred)


def values_among(loss, case, keep):
    """The values where `keep` says so, as if there were no other elements."""
    each = numpy(values(loss, case))
    if case.across_batch:
        each = np.zeros_like(each)
        y_pred = case.y_pred[keep].astype("float32")
        each[keep] = numpy(values(loss, case, y_pred, case.y_true[keep]))
    return each


def assert_same(actual, expected, rtol=1e-5, atol=1e-7):
    """Equal in shape first: NumPy compares (4, 1) with (4,) by broadcasting."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{actual.shape} is not {expected.shape}"
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)


@promise
def gives_one_value_an_example(case):
    for loss in losses(case):
        assert tuple(values(loss, case).shape) == case.value_shape


@promise
def keeps_examples_apart(case):
    for loss in losses(case):
        together = numpy(values(loss, case))
        with pytest.raises(AssertionError) if case.across_batch else nullcontext():
            for i in range(len(case.y_pred)):
                alone = values(
                    loss, case, case.y_pred[i : i + 1].astype("float32"), case.y_true[i : i + 1]
                )
                assert_same(numpy(alone), together[i : i + 1])


@promise
def reduces_as_keras_does(case):
    weights = np.array([0.5, 0.0, 2.0, 1.0])
    for i, loss in enumerate(losses(case)):
        each = numpy(values(loss, case))
        config = loss.get_config()
        spread = np.broadcast_to(weights.reshape(4, *[1] * (each.ndim - 1)), each.shape)
        among = values_among(loss, case, spread > 0)
        size = each.size
        if getattr(loss, "ignore_class", None) is not None:
            counted = case.y_true != loss.ignore_class
            if case.per_region:
                counted = counted.reshape(len(counted), -1).any(axis=-1)
            size = counted.sum()
            spread_counted = spread * counted
        else:
            spread_counted = spread
        for reduction, plain, weighted in (
            ("sum", each.sum(), (among * spread).sum()),
            ("sum_over_batch_size", each.sum() / size, (among * spread).sum() / size),
            ("mean", each.sum() / size, (among * spread).sum() / size),
            (
                "mean_with_sample_weight",
                each.sum() / size,
                (among * spread).sum() / spread_counted.sum(),
            ),
            ("none", each, among * spread),
            (None, each, among * spread),
        ):
            # The arguments take no part in it but for the classes that do not count.
            if i and getattr(loss, "ignore_class", None) is None and reduction != "mean":
                continue
            reduced = type(loss).from_config({**config, "reduction": reduction})
            y_pred = case.y_pred.astype("float32")
            assert_same(numpy(reduced(case.y_true, y_pred)), plain)
            # (B,) weights examples, although the time axis has the same size.
            assert_same(numpy(reduced(case.y_true, y_pred, weights)), weighted)
            assert_same(numpy(reduced(case.y_true, y_pred, weights[:, None])), weighted)
            assert_same(numpy(reduced(case.y_true, y_pred, spread)), weighted)


@promise
def refuses_a_weight_that_does_not_fit(case):
    for loss in losses(case):
        for shape in ((3,), (4, 3), (4, 4, 2)):
            with pytest.raises(ValueError, match="`sample_weight` must fit"):
                loss(case.y_true, case.y_pred.astype("float32"), np.ones(shape))


@promise
def honours_the_keras_mask(case):
    keep = np.ones(case.y_pred.shape[:2], bool)
    keep[1:, 2:] = False
    plain = case.y_pred.astype("float32")
    if case.per_region:
        with pytest.raises(ValueError, match=r"mask of `y_pred` must have the shape.*Received"):
            case.make()(case.y_true, Masked(keep)(ops.convert_to_tensor(plain)))
        return

    for i, loss in enumerate(losses(case)):
        each = values_among(loss, case, keep)
        counted = keep
        if getattr(loss, "ignore_class", None) is not None:
            counted = keep & (case.y_true != loss.ignore_class)

        def masked(y_pred, loss=loss):
            return loss(case.y_true, Masked(keep)(y_pred))

        poisoned = ops.convert_to_tensor(np.where(keep[..., None], plain, np.nan))
        expected = (each * counted).sum() / counted.sum()
        # The arguments take no part in it: one of them is enough to compile.
        ways = [masked] if i else [masked, compiled(masked)]
        for y_pred in (ops.convert_to_tensor(plain), poisoned):
            for run in ways:
                assert_same(numpy(run(y_pred)), expected)
            slope = gradient(masked, y_pred)
            assert np.isfinite(slope).all()
            assert (slope[~keep] == 0).all()


class Masked(keras.layers.Layer):
    """Puts a given Keras mask on its input, as Embedding(mask_zero=True) would."""

    def __init__(self, keep):
        super().__init__()
        self.keep = keep

    def compute_mask(self, inputs, previous_mask=None):
        return ops.convert_to_tensor(self.keep)

    def call(self, inputs):
        return inputs * 1.0  # a tensor of its own, for the mask to stand on


@promise
def a_zero_weight_stops_nan(case):
    weights = np.array([1.0, 0.0, 1.0, 1.0])
    broken = case.y_pred.astype("float32").copy()
    broken[1] = np.nan
    for loss in losses(case):
        clean = numpy(loss(case.y_true, case.y_pred.astype("float32"), weights))
        assert_same(numpy(loss(case.y_true, broken, weights)), clean)
        slope = gradient(lambda p, loss=loss: loss(case.y_true, p, weights), broken)
        assert np.isfinite(slope).all()


@promise
def computes_in_float32_or_wider(case):
    for i, variant in enumerate(variants_of(case)):
        for dtype in ("bfloat16",) if i else ("bfloat16", "float16", "float32"):
            y_pred = ops.cast(case.y_pred, dtype)
            wide = ops.cast(y_pred, "float32")
            exact = numpy(case.direct(case.y_true, wide, **variant))
            for loss in (case.make(**variant), case.make(**variant, dtype=dtype)):
                result = values(loss, case, y_pred)
                assert keras.backend.standardize_dtype(result.dtype) == "float32"
                assert_same(numpy(result), exact)
                slope = gradient(lambda p, loss=loss: values(loss, case, p), y_pred)
                assert np.isfinite(slope).all()
                assert (slope != 0).any()
        if has_float64():
            result = values(case.make(**variant, dtype="float64"), case, case.y_pred)
            assert keras.backend.standardize_dtype(result.dtype) == "float64"


@promise
def a_mean_over_many_half_precision_values_is_finite(case):
    first = (0,) * len(case.value_shape)
    one_pred, one_true = case.y_pred[first], case.y_true[first]
    y_pred = ops.cast(np.broadcast_to(one_pred, (70_000, *one_pred.shape)), "float16")
    y_true = np.broadcast_to(one_true, (70_000, *one_true.shape))
    loss = case.make(dtype="float16")
    single = numpy(loss(y_true[:1], y_pred[:1]))
    assert_same(numpy(loss(y_true, y_pred)), single, rtol=1e-4)


@promise
def takes_integer_labels(case):
    if not case.integer_labels:
        return
    for loss in losses(case):
        expected = numpy(values(loss, case))
        kinds = ["int32", "int64", "uint8", "float32"]
        if case.y_true.max() <= 1 and case.y_true.shape == case.y_pred.shape:
            kinds.append("bool")
        for kind in kinds:
            labels = case.y_true.astype(kind)
            assert_same(numpy(values(loss, case, y_true=labels)), expected)


@promise
def keeps_class_ids_exact(case):
    if not case.holds_class_ids:
        return
    y_pred = np.zeros((1, 2052), "float32")
    y_pred[0, 2049] = 5.0
    for dtype in ("bfloat16", "float16", "float32"):
        loss = case.make(from_logits=True, dtype=dtype)
        right, wrong = numpy(loss(np.array([2049]), y_pred)), numpy(loss(np.array([2048]), y_pred))
        assert right < wrong


@promise
def survives_a_file_by_value(case):
    for loss in losses(case, dtype="float16", name="given_name", reduction="sum"):
        again = reloaded(loss, case)
        assert (again.name, again.dtype, again.reduction) == (loss.name, loss.dtype, loss.reduction)
        y_pred = case.y_pred.astype("float32")
        assert_same(numpy(again(case.y_true, y_pred)), numpy(loss(case.y_true, y_pred)))


def reloaded(loss, case):
    """The loss of a compiled model after `.keras` and back."""
    model = keras.Sequential([keras.Input(case.y_pred.shape[1:]), keras.layers.Identity()])
    model.compile(loss=loss)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        model.save(path)
        return keras.saving.load_model(path, custom_objects={type(loss).__name__: type(loss)}).loss


@promise
def holds_every_argument_in_its_config(case):
    for loss in losses(case):
        config = loss.get_config()
        assert set(config) == set(inspect.signature(case.loss).parameters)
        again = case.loss.from_config(config)
        assert again.get_config() == config
        assert_same(numpy(values(again, case)), numpy(values(loss, case)))
    for variant in case.variants:
        for key, value in variant.items():
            kept = case.make(**variant).get_config()[key]
            assert kept == (tuple(value) if isinstance(value, list) else value)


@promise
def equals_its_function(case):
    for variant in case.variants:
        direct = case.direct(case.y_true, case.y_pred.astype("float32"), **variant)
        assert_same(numpy(values(case.make(**variant), case)), numpy(direct))


@promise
def has_the_gradient_of_its_value(case):
    if case.holds_a_factor and not has_float64():
        return  # float32 differences see the factor in some directions only
    step, rtol = (1e-6, 1e-6) if has_float64() else (1e-2, 5e-2)
    dtype = "float64" if has_float64() else "float32"
    directions = np.random.default_rng(1).normal(size=(3, *case.y_pred.shape)) * case.y_pred
    for loss in losses(case, dtype=dtype, reduction="sum"):

        def total(y_pred, loss=loss):
            return loss(case.y_true, y_pred)

        slope = gradient(total, case.y_pred.astype(dtype))
        with pytest.raises(AssertionError) if case.holds_a_factor else nullcontext():
            for direction in directions:
                ahead = numpy(total((case.y_pred + step * direction).astype(dtype)))
                behind = numpy(total((case.y_pred - step * direction).astype(dtype)))
                expected = (ahead - behind) / (2 * step)
                np.testing.assert_allclose(
                    (slope * direction).sum(), expected, rtol=rtol, atol=1e-3 * rtol
                )


@promise
def stays_finite_at_the_extremes(case):
    above_one = np.nextafter(np.float32(1), np.float32(2))
    for loss in losses(case):
        scores = (0.0, 1e4, -1e4) if getattr(loss, "from_logits", True) else (0.0, 1.0, above_one)
        size = case.y_pred.shape[-1]
        rows = np.array(np.meshgrid(*[scores] * size)).reshape(size, -1).T.astype("float32")
        for label in case.y_true.reshape(-1, *case.y_true.shape[2:])[:6]:
            labels = np.broadcast_to(label, (len(rows), *np.shape(label)))
            if case.per_region:  # of one pixel
                rows, labels = rows.reshape(-1, 1, size), labels[:, None]
            result = numpy(values(loss, case, rows, labels))
            slope = gradient(lambda p, loss=loss, y=labels: values(loss, case, p, y), rows)
            assert np.isfinite(result).all()
            assert np.isfinite(slope).all()
            assert (result >= 0).all() == case.nonnegative


@promise
def is_the_same_compiled(case):
    for loss in _reduced_and_not(case):
        y_pred = case.y_pred.astype("float32")
        eager = numpy(loss(case.y_true, y_pred))
        # A graph without XLA is that of `takes_unknown_batch_and_length`.
        run = compiled(lambda p, loss=loss: loss(case.y_true, p), xla=True)
        assert_same(numpy(run(ops.convert_to_tensor(y_pred))), eager)


def _reduced_and_not(case):
    """The first variant as it trains, and the others, which differ in their values, without that.

    Reduced, a loss brings its gradient into the graph: most of the time that it takes to make one.
    """
    first, *others = variants_of(case)
    return [case.make(**first), *(case.make(**other, reduction="none") for other in others)]


@promise
def takes_unknown_batch_and_length(case):
    if BACKEND != "tensorflow":
        return
    import tensorflow as tf

    def unknown(array):
        shape = [None, None, *array.shape[2:]]
        return tf.TensorSpec(shape, "float32" if array.dtype == "float64" else array.dtype)

    for loss in _reduced_and_not(case):
        signature = [unknown(case.y_true), unknown(case.y_pred)]
        run = tf.function(loss, input_signature=signature, autograph=False)
        for batch in (1, 3):
            y_true = case.y_true[:batch]
            y_true = y_true.astype("float32") if y_true.dtype == "float64" else y_true
            y_pred = case.y_pred[:batch].astype("float32")
            assert_same(numpy(run(y_true, y_pred)), numpy(loss(y_true, y_pred)))


@promise
def refuses_bad_arguments_by_name(case):
    for arguments in case.bad_arguments:
        (name,) = arguments
        with pytest.raises(ValueError, match=f"`{name}`.*Received"):
            case.make(**arguments)
    with pytest.raises(TypeError, match="no_such_argument"):
        case.make(no_such_argument=1)


@promise
def never_broadcasts(case):
    for true_shape, pred_shape in case.bad_shapes:
        for loss in losses(case):
            labels = np.zeros(true_shape, case.y_true.dtype)
            for weight in (None, 1.0, np.ones(pred_shape[:1])):
                with pytest.raises(ValueError, match=r"Received: .*_(true|pred)\.shape="):
                    loss(labels, np.full(pred_shape, 0.5, "float32"), weight)


@promise
def aligns_a_trailing_axis_of_one(case):
    if case.y_true.shape == case.y_pred.shape:
        return _aligns_elementwise(case)
    loss = case.make()
    y_pred = case.y_pred.astype("float32")
    expected = numpy(loss(case.y_true, y_pred))
    return assert_same(numpy(loss(case.y_true[..., None], y_pred)), expected)


def _aligns_elementwise(case):
    half = np.full((4, 1), 0.5, "float32")
    if case.per_region:
        with pytest.raises(ValueError, match="at least one axis of pixels"):
            case.make()(np.ones((4, 1)), half)
        expected = case.make()(np.ones((4, 1, 1)), half[..., None])
        assert_same(numpy(case.make()(np.ones((4, 1)), half[..., None])), numpy(expected))
        return
    if case.over_classes:
        with pytest.raises(ValueError, match="at least 2"):
            case.make()(np.ones((4, 1)), half)
        return
    if case.last_axis is not None:
        with pytest.raises(ValueError, match=r"Received: y_true\.shape="):
            case.make()(np.ones((4, 1)), half)
        return
    column = case.make(reduction="none")(np.ones((4, 1)), half)
    for true_shape, pred_shape in (((4,), (4, 1)), ((4, 1), (4,)), ((4,), (4,))):
        result = case.make(reduction="none")(
            np.ones(true_shape), np.full(pred_shape, 0.5, "float32")
        )
        assert_same(numpy(result), numpy(column))


@promise
def is_registered_and_documented(case):
    assert keras.saving.get_registered_name(case.loss) == f"keras_duo>{case.loss.__name__}"
    text = case.loss.__doc__
    for part in ("Args:", "Raises:", "Source:", "Example:", "activation"):
        assert part in text, part

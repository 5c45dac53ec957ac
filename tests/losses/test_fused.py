"""The fast path: in a graph a loss and its gradient are one XLA cluster, with the same numbers."""

import keras
import numpy as np
import pytest

import keras_duo as duo
from tests.backend import BACKEND
from tests.contracts.loss_promises import assert_same, losses
from tests.contracts.table import LOSSES

if BACKEND != "tensorflow":
    pytest.skip("other backends have no fast path", allow_module_level=True)

import tensorflow as tf

CASES = [case for case in LOSSES if case.loss is not duo.MultiObjective]
# Those whose gradient we have written ourselves, and so the function that a second one is of.
OWN_GRADIENT = {
    *(duo.Focal, duo.CategoricalFocal, duo.AsymmetricFocal),
    *(duo.SymmetricCrossEntropy, duo.PolyCrossEntropy, duo.LSGAN),
}


def data(case):
    y_true = tf.convert_to_tensor(case.y_true)
    if y_true.dtype == tf.float64:
        y_true = tf.cast(y_true, "float32")
    return y_true, tf.constant(case.y_pred, "float32")


def with_slope(loss):
    """The loss, and its derivative by `y_pred`."""

    def run(y_true, y_pred):
        with tf.GradientTape() as tape:
            tape.watch(y_pred)
            value = loss(y_true, y_pred)
        return value, tape.gradient(value, y_pred)

    return run


def with_slopes(loss):
    """The loss, its derivative, and the derivative of a function of that."""

    def run(y_true, y_pred):
        with tf.GradientTape() as tape:
            tape.watch(y_pred)
            value, slope = with_slope(loss)(y_true, y_pred)
            total = tf.reduce_sum(tf.sin(slope))
        curvature = tape.gradient(total, y_pred, unconnected_gradients="zero")
        return value, slope, curvature

    return run


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_cluster_changes_no_number(case):
    y_true, y_pred = data(case)
    # TensorFlow takes seconds to differentiate a cluster twice, and is right where it takes the
    # first derivative itself.
    first = with_slopes if case.loss in OWN_GRADIENT else with_slope
    for loss, derivatives in zip(losses(case), (first, with_slope), strict=False):
        expected = derivatives(loss)(y_true, y_pred)
        run = tf.function(derivatives(loss), autograph=False)
        for _ in range(2):  # the first call may be interpreted
            # Differences of near-equal numbers are left to rounding in the second derivative.
            errors = (1e-5, 1e-5, 1e-3)[: len(expected)]
            for got, want, error in zip(run(y_true, y_pred), expected, errors, strict=True):
                assert_same(got, want, rtol=error, atol=error * np.abs(want).max())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_value_and_slope_are_one_node_that_is_marked_for_xla(case):
    y_true, y_pred = data(case)

    run = tf.function(with_slope(case.make()), autograph=False)
    operations = run.get_concrete_function(y_true, y_pred).graph.get_operations()
    inside = [op.type for op in operations if "_XlaCompile" in op.node_def.attr]
    if case.loss is duo.LSGAN:  # less to compute than the launch of a cluster
        assert inside == []
        return
    assert [kind for kind in inside if kind != "Identity"] == ["PartitionedCall"]
    # The upstream gradient, 1, the products with it, and the 0 that carries the slopes of labels.
    inert = {"Placeholder", "Const", "Identity", "IdentityN", "NoOp"}
    outside = {op.type for op in operations if "_XlaCompile" not in op.node_def.attr}
    assert outside - inert <= {"Fill", "Shape", "OnesLike", "Mul", "AddV2"}


def test_the_gradient_reaches_into_control_flow():
    case = next(case for case in CASES if case.loss is duo.CategoricalFocal)
    y_true, y_pred = data(case)
    loss = case.make()

    def chosen(y_true, y_pred):
        return tf.cond(tf.reduce_sum(y_pred) < 1e9, lambda: loss(y_true, y_pred), lambda: 0.0)

    def mapped(y_true, y_pred):
        pairs = (y_true[None], y_pred[None])
        return tf.map_fn(lambda pair: loss(*pair), pairs, fn_output_signature=tf.float32)[0]

    expected = with_slope(loss)(y_true, y_pred)
    for function in (chosen, mapped):
        run = tf.function(with_slope(function), autograph=False)
        for got, want in zip(run(y_true, y_pred), expected, strict=True):
            assert_same(got, want)


def test_labels_and_weights_have_gradients():
    """As in distillation, where the labels are the outputs of a model themselves."""
    y_true, y_pred = tf.constant([[0.3, 0.7], [0.5, 0.5]]), tf.constant([[1.0, -1.0], [0.5, 2.0]])
    weights = tf.constant([1.0, 3.0])

    def run(y_true, y_pred, weights):
        inputs = (y_true, y_pred, weights)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            value = duo.CategoricalFocal(from_logits=True)(y_true, y_pred, weights)
        return tape.gradient(value, inputs)

    eager = run(y_true, y_pred, weights)
    graph = tf.function(run, autograph=False)
    for _ in range(3):
        for got, want in zip(graph(y_true, y_pred, weights), eager, strict=True):
            assert np.abs(want).max() > 0
            assert_same(got, want)


def test_integer_outputs_have_a_value():
    run = tf.function(duo.LSGAN(), autograph=False)
    assert_same(run(tf.constant([[1], [0]]), tf.constant([[3], [1]])), 1.25)


def test_a_scaled_loss_keeps_slopes_that_half_precision_cannot_hold():
    y_true, y_pred = tf.zeros((4096, 1)), tf.zeros((4096, 1), "float16")

    @tf.function(autograph=False)
    def run():
        with tf.GradientTape() as tape:
            tape.watch(y_pred)
            value = 2.0**15 * duo.Focal(gamma=0.0, from_logits=True)(y_true, 1e-4 * y_pred)
        return tape.gradient(value, y_pred)

    np.testing.assert_allclose(run(), 2.0**15 * 1e-4 * 0.5 / 4096, rtol=2e-3)


@pytest.mark.parametrize("run_eagerly", [False, True])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_model_trains_alike(run_eagerly, jit_compile):
    if run_eagerly and jit_compile:
        pytest.skip("Keras has no such mode")
    x = np.random.default_rng(0).normal(size=(20, 3)).astype("float32")
    y = np.eye(2, dtype="float32")[(x.sum(axis=-1) > 0).astype(int)]
    weights = []
    for reference in (True, False):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, activation="softmax")])
        loss = duo.CategoricalFocal()
        model.compile(
            keras.optimizers.SGD(0.5),
            loss=loss,
            run_eagerly=run_eagerly or reference,
            jit_compile=jit_compile and not reference,
        )
        model.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    for got, want in zip(*weights, strict=True):
        assert_same(got, want, rtol=1e-5, atol=1e-6)


class LeastSquares(duo.LSGAN):
    """The same by a `call` of one's own, which is a cluster again."""

    def call(self, y_true, y_pred):
        return super().call(y_true, y_pred)


class TwiceAsLarge(
    duo.LSGAN, function=lambda y_true, y_pred: 2.0 * duo.losses.lsgan_loss(y_true, y_pred)
):
    """Another function, which has no closed form."""


class FirstHalf(duo.LSGAN):
    """Half of the examples count."""

    def valid(self, y_true, y_pred):
        return tf.range(tf.shape(y_pred)[0]) < tf.shape(y_pred)[0] // 2


@pytest.mark.parametrize("loss", [TwiceAsLarge, FirstHalf])
def test_a_subclass_has_its_own_values_in_a_graph(loss):
    y_true, y_pred = tf.constant([[1.0], [0.0]]), tf.constant([[3.0], [1.0]])
    expected = {TwiceAsLarge: 2.5, FirstHalf: 2.0}[loss]
    assert_same(tf.function(loss(), autograph=False)(y_true, y_pred), expected)
    assert_same(loss()(y_true, y_pred), expected)


@pytest.mark.parametrize("loss", [duo.LSGAN(), LeastSquares()], ids=["closed form", "cluster"])
def test_a_batch_of_any_size_has_the_mean_of_its_values(loss):
    """A cluster adds values in rows of 256, and what is left over by itself."""
    run = tf.function(with_slope(loss), [tf.TensorSpec((None, 1))] * 2, autograph=False)
    weighted = tf.function(loss, [tf.TensorSpec((None, 1))] * 2 + [tf.TensorSpec((None,))])
    random = np.random.default_rng(0)
    for size in (0, 1, 255, 256, 300, 1025):
        y_true = random.integers(0, 2, (size, 1)).astype("float32")
        y_pred, weights = random.normal(size=(2, size)).astype("float32")
        distance = y_pred[:, None] - y_true
        value, slope = run(y_true, y_pred[:, None])
        np.testing.assert_allclose(value, 0.5 * np.mean(distance**2) if size else 0.0, rtol=1e-5)
        np.testing.assert_allclose(slope, distance / max(size, 1), rtol=1e-5)
        expected = 0.5 * np.mean(weights * distance[:, 0] ** 2) if size else 0.0
        np.testing.assert_allclose(
            weighted(y_true, y_pred[:, None], weights), expected, rtol=1e-4, atol=1e-6
        )


@pytest.mark.parametrize("label_dtype", ["int64", "bool", "float16", "float32", "float64"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_least_squares_in_closed_form_are_those_of_each_score(dtype, label_dtype):
    """Value, and slopes by scores and labels, of every kind of label that the loss takes."""
    random = np.random.default_rng(0)
    label = random.integers(0, 2, (33, 2))
    label = label if label_dtype in ("int64", "bool") else label * random.random(label.shape)
    y_true = tf.constant(label.astype(label_dtype))
    y_pred = tf.constant(random.normal(size=(33, 2)).astype(dtype))
    loss = duo.LSGAN(fake_target=-1.0, real_target=0.5)

    def run(y_true, y_pred):
        watched = [tensor for tensor in (y_true, y_pred) if tensor.dtype.is_floating]
        with tf.GradientTape() as tape:
            tape.watch(watched)
            value = loss(y_true, y_pred)
        return [value, *tape.gradient(value, watched)]

    for got, want in zip(
        tf.function(run, autograph=False)(y_true, y_pred), run(y_true, y_pred), strict=True
    ):
        assert got.dtype == want.dtype
        rtol = 1e-3 if "float16" in (dtype, label_dtype) else 1e-6
        assert_same(got, want, rtol=rtol, atol=rtol * np.abs(want).max())


@pytest.mark.parametrize("label", [-1, 2])
@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_a_label_that_is_none_stops_least_squares(label, dtype):
    y_true, y_pred = tf.constant([[1], [0], [label]], dtype), tf.constant([[0.5], [0.1], [0.2]])
    value, slope = tf.function(with_slope(duo.LSGAN()), autograph=False)(y_true, y_pred)
    assert np.isnan(value)
    assert np.isnan(slope).any()

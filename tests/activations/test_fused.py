"""The fast path: in training on CPUs a large activation is XLA clusters, with the same numbers."""

import keras
import numpy as np
import pytest

import keras_duo as duo
from keras_duo.activations._fused import LARGE
from tests.backend import BACKEND, numpy

if BACKEND != "tensorflow":
    pytest.skip("other backends have no fast path", allow_module_level=True)

import tensorflow as tf

CASES = {
    "LearnableActivation": (duo.LearnableActivation, (64,)),
    "LearnableActivation of a layer": (lambda: duo.LearnableActivation(duo.Swish(axis=-1)), (64,)),
    "LearnableActivation of a layer of Keras": (
        lambda: duo.LearnableActivation(keras.layers.PReLU()),
        (64,),
    ),
    "Swish of channels": (lambda: duo.Swish(axis=-1), (8, 64)),
    "Acon, channels first": (lambda: duo.Acon(axis=1), (4, 8, 64)),
    "MetaAcon": (duo.MetaAcon, (8, 64)),
    "Rational": (duo.Rational, (64,)),
    "Rational of channels": (lambda: duo.Rational(axis=-1), (64,)),
}


def away_from_start(name):
    """A layer whose weights have moved, and the shape of one example."""
    make, shape = CASES[name]
    layer = make()
    layer.build((None, *shape))
    random = np.random.default_rng(0)
    layer.set_weights([w + random.uniform(-0.2, 0.2, w.shape) for w in layer.get_weights()])
    return layer, shape


def numbers(shape, large):
    """An input, and the gradient of the output."""
    examples = LARGE // np.prod(shape) + 3 if large else 5
    random = np.random.default_rng(1)
    return [tf.constant(random.normal(size=(examples, *shape)), "float32") for _ in range(2)]


def slopes_of(layer, training):
    """The value of a layer, and its gradient by the input and by each weight."""

    def run(x, upstream):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = layer(x, training=training)
        return value, *tape.gradient(value, [x, *layer.trainable_variables], upstream)

    return run


def as_graph(function, shape):
    return tf.function(function, [tf.TensorSpec((None, *shape))] * 2, autograph=False)


@pytest.mark.parametrize("name", CASES)
def test_a_cluster_changes_no_number(name):
    layer, shape = away_from_start(name)
    run = as_graph(slopes_of(layer, training=True), shape)
    for large in (True, False):
        x, upstream = numbers(shape, large)
        expected = slopes_of(layer, training=False)(x, upstream)
        for _ in range(2):  # the first call may be interpreted
            for got, want in zip(run(x, upstream), expected, strict=True):
                assert got.shape == want.shape
                scale = np.abs(numpy(want)).max()
                np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 * scale)


def marked_for_xla(graph):
    """How many operations of a graph and of the functions that it calls XLA is to compile."""
    definition = graph.as_graph_def()
    nodes = [*definition.node, *(n for f in definition.library.function for n in f.node_def)]
    return sum("_XlaCompile" in node.attr and node.op == "PartitionedCall" for node in nodes)


@pytest.mark.parametrize("name", ["Swish of channels", "MetaAcon"])
def test_there_are_two_clusters_in_training_and_none_outside(name):
    layer, shape = away_from_start(name)
    for training, clusters in ((True, 2), (False, 0)):
        graph = as_graph(slopes_of(layer, training), shape).get_concrete_function().graph
        assert marked_for_xla(graph) == clusters


def test_fit_takes_the_fast_path_inside_of_dense_and_an_exported_model_has_none_of_it(tmp_path):
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(64, activation=duo.Swish())])
    model.compile("sgd", "mse")
    graphs = []

    class Spy(duo.Swish):
        def call(self, inputs, training=None):
            graphs.append((training, tf.executing_eagerly()))
            return super().call(inputs, training)

    spied = keras.Sequential([keras.Input((8,)), keras.layers.Dense(64, activation=Spy())])
    spied.compile("sgd", "mse")
    spied.fit(np.ones((4, 8)), np.ones((4, 64)), verbose=0)
    assert graphs[-1] == (True, False)
    model.fit(np.ones((4, 8)), np.ones((4, 64)), verbose=0)
    model.export(tmp_path / "model", verbose=False)
    served = tf.saved_model.load(tmp_path / "model")
    assert marked_for_xla(served.signatures["serving_default"].graph) == 0


def test_the_gradient_can_be_differentiated_again():
    layer, shape = away_from_start("Swish of channels")

    def curvature(training):
        def run(x, upstream):
            with tf.GradientTape() as tape:
                tape.watch(x)
                slopes = slopes_of(layer, training)(x, upstream)[1:]
                total = sum(tf.reduce_sum(tf.sin(slope)) for slope in slopes)
            return tape.gradient(total, [x, *layer.trainable_variables])

        return run

    for large in (True, False):
        data = numbers(shape, large)
        got = as_graph(curvature(training=True), shape)(*data)
        for one, other in zip(got, curvature(training=False)(*data), strict=True):
            scale = np.abs(numpy(other)).max()
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4 * scale)


def test_forward_mode_sees_through_a_cluster():
    layer, shape = away_from_start("Swish of channels")

    def tangent(training):
        def run(x, direction):
            with tf.autodiff.ForwardAccumulator(x, direction) as accumulator:
                value = layer(x, training=training)
            return accumulator.jvp(value)

        return run

    for large in (True, False):
        data = numbers(shape, large)
        got, want = (as_graph(tangent(training), shape)(*data) for training in (True, False))
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_other_precisions_have_the_same_numbers(policy):
    layer = duo.Rational(axis=-1, dtype=policy)
    layer.build((None, 64))
    x, upstream = (tf.cast(t, layer.compute_dtype) for t in numbers((64,), large=True))
    run = tf.function(slopes_of(layer, training=True), autograph=False)
    for got, want in zip(run(x, upstream), slopes_of(layer, False)(x, upstream), strict=True):
        assert got.dtype == want.dtype
        scale = np.abs(numpy(want)).max()
        np.testing.assert_allclose(numpy(got), numpy(want), rtol=2e-2, atol=1e-2 * scale)

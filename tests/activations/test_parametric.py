"""What all activations with learned parameters share."""

import json

import keras
import numpy as np
import pytest
from keras import ops

import keras_duo as duo
from tests.backend import BACKEND, gradients, numpy, weight_gradients

ELEMENTWISE = (duo.LearnableActivation, duo.Swish, duo.Acon, duo.Rational, duo.Snake)
FUNCTIONS = {
    "swish": (duo.swish, [0.7]),
    "acon": (duo.acon, [1.2, -0.3, 0.7]),
    "snake": (duo.snake, [0.7]),
    "learnable_activation": (
        lambda x, a, b: duo.learnable_activation(x, a, b, ops.tanh),
        [1.3, 0.2],
    ),
    "rational": (
        lambda x, *c: duo.rational(x, ops.stack(c[:6]), ops.stack(c[6:])),
        [0.1, 0.5, 1.7, 1.6, -0.6, 0.06, 0.3, 3.3, -0.2, 0.12],
    ),
}


def built(layer, shape):
    layer.build(shape)
    random = np.random.default_rng(0)
    layer.set_weights([w + random.uniform(-0.4, 0.4, w.shape) for w in layer.get_weights()])
    return layer


@pytest.mark.parametrize("kind", ELEMENTWISE)
def test_channels_first_is_the_same(kind):
    x = np.random.default_rng(1).normal(size=(2, 3, 4, 5)).astype("float32")
    last = built(kind(axis=-1), (None, 3, 4, 5))
    for axis in (1, -3):
        first = built(kind(axis=axis), (None, 5, 3, 4))
        moved = np.moveaxis(x, -1, 1)
        np.testing.assert_allclose(
            np.moveaxis(numpy(first(moved)), 1, -1), numpy(last(x)), rtol=1e-5, atol=1e-6
        )
        slopes = (weight_gradients(layer, v, v) for layer, v in ((first, moved), (last, x)))
        for one, other in zip(*slopes, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ELEMENTWISE)
def test_another_number_of_channels_is_an_error(kind):
    """One channel would be broadcast to four without a word."""
    layer = built(kind(axis=-1), (None, 4))
    with pytest.raises(ValueError, match="expected axis -1"):
        layer(np.ones((2, 1), "float32"))


@pytest.mark.parametrize("axis", [None, -1])
@pytest.mark.parametrize("halves", ["glu", lambda x: x[..., :2]], ids=["glu", "function"])
def test_an_activation_that_changes_the_shape_is_an_error(halves, axis):
    """The layer after it would be built for the shape of the input."""
    layer = duo.LearnableActivation(halves, axis=axis)
    with pytest.raises(ValueError, match=r"(?s)`activation` must give.*Received: .*of \(2, 4\)"):
        layer(np.ones((2, 4), "float32"))


def test_a_shared_activation_keeps_its_channels():
    shared = duo.Swish(axis=-1)
    model = keras.Sequential(
        [keras.layers.Dense(4, activation=shared), keras.layers.Dense(5, activation=shared)]
    )
    with pytest.raises(ValueError, match="expected axis -1"):
        model(np.ones((2, 3), "float32"))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nothing_broadcasts_the_input(name):
    function, parameters = FUNCTIONS[name]
    with pytest.raises(ValueError, match=r"must broadcast to the shape of `x`.*Received"):
        function(np.ones((2, 1)), *(np.full(4, value) for value in parameters))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_dtype_of_the_input_is_kept(name):
    function, parameters = FUNCTIONS[name]
    for dtype in ("float16", "bfloat16", "float32"):
        value = function(ops.ones((2, 3), dtype), *(ops.ones(3) * value for value in parameters))
        assert keras.backend.standardize_dtype(value.dtype) == dtype
    assert keras.backend.standardize_dtype(function([1, 2], *parameters).dtype) == "float32"


@pytest.mark.skipif(BACKEND != "tensorflow", reason="elsewhere no gradient is our own")
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("shape", [(), (3,)])
def test_the_second_derivatives_are_those_of_the_first(name, shape):
    import tensorflow as tf

    function, parameters = FUNCTIONS[name]
    random = np.random.default_rng(0)
    arguments = [tf.constant(random.normal(size=(5, 3)))]
    arguments += [tf.constant(value + random.uniform(0, 0.1, shape)) for value in parameters]
    directions = [tf.constant(random.normal(size=argument.shape)) for argument in arguments]
    weights = tf.constant(random.normal(size=(5, 3)))

    def slope(*arguments):
        """Of the weighted sum, along the directions."""
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            value = tf.reduce_sum(weights * function(*arguments))
        found = tape.gradient(value, arguments)
        return tf.add_n([tf.reduce_sum(g * d) for g, d in zip(found, directions, strict=True)])

    def curvature(*arguments):
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            value = slope(*arguments)
        return tape.gradient(value, arguments, unconnected_gradients="zero")

    step = 1e-6
    for run in (curvature, tf.function(curvature, autograph=False)):
        for i, found in enumerate(run(*arguments)):
            direction = tf.constant(random.normal(size=found.shape))
            low, high = (
                slope(*(a + s * step * direction if j == i else a for j, a in enumerate(arguments)))
                for s in (-1, 1)
            )
            expected = (high - low) / (2 * step)
            actual = tf.reduce_sum(found * direction)
            np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="elsewhere all is compiled by XLA")
def test_the_gradients_are_the_same_under_xla():
    import tensorflow as tf

    random = np.random.default_rng(0)
    arguments = [random.normal(size=shape) for shape in ((5, 3), (6, 3), (4, 3))]
    run = tf.function(lambda *a: tf.gradients(duo.rational(*a), a), jit_compile=True)
    expected = gradients(duo.rational, *(tf.constant(argument) for argument in arguments))
    for found, slope in zip(run(*arguments), expected, strict=True):
        np.testing.assert_allclose(found, slope, rtol=1e-10)


@pytest.mark.parametrize("axis", [None, -1])
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_the_gradient_of_a_parameter_does_not_overflow_half_precision(policy, axis):
    """A sum of 70,000 ones is infinite in float16, and 256 in bfloat16."""
    layer = duo.LearnableActivation("linear", axis=axis, dtype=policy)
    x = ops.ones((70_000, 1), layer.compute_dtype)
    layer(x)
    for slope in weight_gradients(layer, x, np.ones((70_000, 1), "float32")):
        np.testing.assert_array_equal(np.ravel(slope), 70_000)


class TestInitializers:
    def test_a_number_is_one(self):
        layer = duo.Swish(np.float32(0.5), axis=-1)
        layer.build((None, 3))
        np.testing.assert_array_equal(layer.get_weights()[0], [0.5, 0.5, 0.5])
        assert json.loads(json.dumps(layer.get_config()))["beta_initializer"]["config"] == {
            "value": 0.5
        }

    def test_so_is_what_keras_has(self):
        initializer = keras.initializers.RandomUniform(0.2, 0.4, seed=1)
        layer = duo.Swish(initializer, axis=-1)
        layer.build((None, 50))
        (beta,) = layer.get_weights()
        assert len(np.unique(beta)) == 50
        assert ((beta >= 0.2) & (beta <= 0.4)).all()


class TestPenalties:
    def model(self, **arguments):
        layer = duo.Swish(3.0, **arguments)
        return layer, keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation=layer)])

    def test_a_regularizer_reaches_the_loss_of_the_model(self):
        _, model = self.model(beta_regularizer=keras.regularizers.L2(0.1))
        np.testing.assert_allclose([float(numpy(loss)) for loss in model.losses], [0.9], rtol=1e-6)

    def test_a_constraint_holds_after_a_step(self):
        layer, model = self.model(beta_constraint=lambda beta: ops.clip(beta, 0.0, 1.0))
        model.compile("sgd", "mse")
        model.train_on_batch(np.ones((3, 4)), np.ones((3, 2)))
        np.testing.assert_allclose(float(numpy(layer.beta)), 1.0)

    def test_an_untrainable_activation_is_left(self):
        layer = duo.Swish(trainable=False)
        assert not layer.trainable_variables
        assert gradients(duo.swish, ops.convert_to_tensor([1.0]), ops.convert_to_tensor(1.0))

"""What differs on an accelerator, where a float32 product is rounded to TF32 or bfloat16."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_duo as duo
from keras_duo import _products
from keras_duo._products import exact_matmul
from keras_duo.layers import _analytic
from tests.backend import BACKEND, gradient, numpy, weight_gradients


def has_accelerator():
    if BACKEND == "jax":
        import jax

        return jax.default_backend() != "cpu"
    import tensorflow as tf

    return bool(tf.config.list_logical_devices("GPU"))


@pytest.fixture
def _as_users_have_it():
    """The precision of products that `conftest.py` raises for all other tests."""
    if not has_accelerator():
        pytest.skip("needs an accelerator")
    if BACKEND == "jax":
        import jax

        with jax.default_matmul_precision("default"):
            yield
        return
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(True)
    yield
    tf.config.experimental.enable_tensor_float_32_execution(False)


def on_an_accelerator(test):
    return pytest.mark.gpu(pytest.mark.usefixtures("_as_users_have_it")(test))


@on_an_accelerator
def test_a_product_keeps_its_digits():
    a, b = np.random.default_rng(0).normal(size=(2, 128, 128)).astype("float32")
    exact = a.astype("float64") @ b
    np.testing.assert_allclose(numpy(exact_matmul(a, b)), exact, atol=2e-5)
    assert np.abs(numpy(ops.matmul(a, b)) - exact).max() > 1e-3, "nothing to test here"


@on_an_accelerator
@pytest.mark.parametrize("weighting", ["min_norm", "balanced"])
def test_an_objective_is_weighted_as_on_a_cpu(weighting):
    rng = np.random.default_rng(0)
    y_true, y_pred = rng.normal(size=(2, 64, 8)).astype("float32")
    parts = [keras.losses.MeanSquaredError(), keras.losses.MeanAbsoluteError()]
    loss = duo.MultiObjective(parts, weighting=weighting)
    square = 2.0 * (y_pred - y_true).astype("float64") / y_true.size
    absolute = np.sign(y_pred - y_true) / y_true.size
    if weighting == "balanced":
        norms = np.array([np.linalg.norm(square), np.linalg.norm(absolute)])
        expected = (1.0 / norms) / (1.0 / norms).sum()
    else:
        difference = square - absolute
        share = -(absolute * difference).sum() / (difference**2).sum()
        expected = np.clip([share, 1.0 - share], 0.0, 1.0)
    found = (expected * [float(part(y_true, y_pred)) for part in parts]).sum()
    np.testing.assert_allclose(float(loss(y_true, y_pred)), found, rtol=1e-5)


@on_an_accelerator
def test_weights_from_a_gramian_are_exact():
    gradients = np.random.default_rng(0).normal(size=(3, 50))
    gramian = (gradients @ gradients.T).astype("float32")
    values, vectors = np.linalg.eigh(gramian.astype("float64"))
    aligned = np.sqrt(values.min()) * (vectors / np.sqrt(values)) @ vectors.mean(axis=0)
    np.testing.assert_allclose(numpy(duo.weightings.aligned_mtl(gramian)), aligned, rtol=1e-5)
    nash = numpy(duo.weightings.nash(gramian, max_norm=1e6))
    np.testing.assert_allclose(gramian @ nash, 1.0 / nash, rtol=1e-4)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="JAX has one way for all devices")
def test_the_way_of_an_accelerator_gives_the_same(monkeypatch):
    """Without one, so that it is tested everywhere."""
    a, b = np.random.default_rng(0).normal(size=(2, 6, 6)).astype("float32")
    layer = duo.TransformerBlock(6, num_heads=2, ff_dim=8)
    layer.build((None, 3, 6))
    for variable in layer.trainable_variables:  # the scales of its normalizations are ones
        variable.assign(np.random.default_rng(1).normal(size=variable.shape))

    def found():
        slopes = [gradient(layer, a[None, :3]), *weight_gradients(layer, a[None, :3], 1.0)]
        return [numpy(exact_matmul(ops.convert_to_tensor(a), ops.convert_to_tensor(b))), *slopes]

    expected = found()
    for module in (_products, _analytic):
        monkeypatch.setattr(module, "has_cpus_only", lambda: False)
    product = exact_matmul(ops.convert_to_tensor(a), ops.convert_to_tensor(b))
    assert keras.backend.standardize_dtype(product.dtype) == "float32"
    for got, want in zip(found(), expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)

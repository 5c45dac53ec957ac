"""What differs on an accelerator, where a float32 product is rounded to TF32 or bfloat16."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_duo as duo
from keras_duo._products import exact_matmul
from tests.backend import numpy


def has_accelerator():
    if keras.backend.backend() == "jax":
        import jax

        return jax.default_backend() != "cpu"
    import tensorflow as tf

    return bool(tf.config.list_logical_devices("GPU"))


@pytest.fixture(autouse=True)
def _as_users_have_it():
    """The precision of products that `conftest.py` raises for all other tests."""
    if not has_accelerator():
        pytest.skip("needs an accelerator")
    if keras.backend.backend() == "jax":
        import jax

        with jax.default_matmul_precision("default"):
            yield
        return
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(True)
    yield
    tf.config.experimental.enable_tensor_float_32_execution(False)


pytestmark = pytest.mark.gpu


def test_a_product_keeps_its_digits():
    a, b = np.random.default_rng(0).normal(size=(2, 128, 128)).astype("float32")
    exact = a.astype("float64") @ b
    np.testing.assert_allclose(numpy(exact_matmul(a, b)), exact, atol=2e-5)
    assert np.abs(numpy(ops.matmul(a, b)) - exact).max() > 1e-3, "nothing to test here"


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


def test_weights_from_a_gramian_are_exact():
    gradients = np.random.default_rng(0).normal(size=(3, 50))
    gramian = (gradients @ gradients.T).astype("float32")
    values, vectors = np.linalg.eigh(gramian.astype("float64"))
    aligned = np.sqrt(values.min()) * (vectors / np.sqrt(values)) @ vectors.mean(axis=0)
    np.testing.assert_allclose(numpy(duo.weightings.aligned_mtl(gramian)), aligned, rtol=1e-5)
    nash = numpy(duo.weightings.nash(gramian, max_norm=1e6))
    np.testing.assert_allclose(gramian @ nash, 1.0 / nash, rtol=1e-4)

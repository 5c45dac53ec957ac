"""Settings that hold for every test."""

import gc
import os

# TensorFlow reports its build on standard error in every process that imports it.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Two workers on two cores: one thread each, or they wait for each other.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
# An accelerator rounds products to TF32 or bfloat16, unless it is told otherwise.
os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")

import hypothesis
import keras
import numpy as np
import pytest

from keras_duo import check

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(False)

# What thousands of traced graphs leave behind is looked through again and again: a test late in a
# run took five times what it takes alone.
gc.set_threshold(100_000, 50, 100)

# Compilation makes the first example slow. In CI the examples are the same in every run.
hypothesis.settings.register_profile("local", deadline=None, max_examples=50)
hypothesis.settings.register_profile("ci", deadline=None, max_examples=50, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(autouse=True)
def _same_start():
    """Each test is a run of its own: seeded, and with Keras' global state as it was."""
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture(autouse=True)
def _no_false_alarm(request, monkeypatch):
    """`check` finds no fault with a model that a test trains, but where one is built with it."""
    if "check" in request.path.parts or request.node.get_closest_marker("misfit"):
        return

    seen = []

    def checked(train):
        def run(model, x=None, y=None, *args, **kwargs):
            if not any(model is known for known in seen):
                seen.append(model)
                # The state of a model that is not built yet would start elsewhere.
                probe = (x, y) if model.built and isinstance(x, np.ndarray) else ()
                found = check(model, *probe)
                assert [f for f in found if f.severity in ("error", "warning")] == []
            return train(model, x, y, *args, **kwargs)

        return run

    for name in ("fit", "train_on_batch", "evaluate"):
        monkeypatch.setattr(keras.Model, name, checked(getattr(keras.Model, name)))

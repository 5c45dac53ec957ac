"""Settings that hold for every test."""

import os

# TensorFlow reports its build on standard error in every process that imports it.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Two workers on two cores: one thread each, or they wait for each other.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

import hypothesis
import keras
import pytest

# Compilation makes the first example slow. In CI the examples are the same in every run.
hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(autouse=True)
def _same_start():
    """Each test is a run of its own: seeded, and with Keras' global state as it was."""
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")

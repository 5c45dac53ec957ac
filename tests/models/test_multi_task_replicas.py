"""On two replicas, and in a process that has only the file: in one new process."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from tests.backend import BACKEND, numpy
from tests.models import test_multi_task as one

CODE = """
import sys
import keras, numpy as np, tensorflow as tf
import keras_duo
from tests.models import test_multi_task as one

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
for name, options in {OPTIONS}.items():
    with strategy.scope():
        model = one.compiled(name.split("-")[0], regularizer="l2", run_eagerly=False, **options)
    logs = one.fit(model, epochs=2)
    np.savez(f"{name}.npz", *one.weights_of(model), **{"loss": logs["loss"]})
model = keras.saving.load_model("saved.keras")
one.fit(model)
np.savez("resumed.npz", *one.weights_of(model))
"""
OPTIONS = {
    "famo": {},
    "nash": {},
    "gradnorm-trunk": {"representation": "trunk"},
}


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "tensorflow", reason="a strategy of TensorFlow")
def test_two_replicas_and_a_fresh_process_take_the_same_steps(tmp_path):
    saved = one.compiled("pcgrad", keras.optimizers.Adam(0.01))
    one.fit(saved)
    saved.save(tmp_path / "saved.keras")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path]),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    run = subprocess.run(
        [sys.executable, "-c", CODE.replace("{OPTIONS}", repr(OPTIONS))],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    for name, options in OPTIONS.items():
        model = one.compiled(name.split("-")[0], regularizer="l2", **options)
        logs = one.fit(model, epochs=2)
        found = np.load(tmp_path / f"{name}.npz")
        np.testing.assert_allclose(found["loss"], logs["loss"], rtol=1e-4, err_msg=name)
        for i, expected in enumerate(one.weights_of(model)):
            np.testing.assert_allclose(
                found[f"arr_{i}"], expected, rtol=1e-3, atol=1e-4, err_msg=f"{name} {i}"
            )
    one.fit(saved)
    found = np.load(tmp_path / "resumed.npz")
    for i, variable in enumerate(saved.model.trainable_variables):
        np.testing.assert_array_equal(found[f"arr_{i}"], numpy(variable))

"""Models saved here are loaded in a new process, and must give the same values there."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from tests.backend import numpy
from tests.contracts.layer_promises import inputs, layers, model_of
from tests.contracts.loss_promises import losses
from tests.contracts.table import LAYERS, LOSSES

LOAD = """
import json, sys
import keras, numpy as np
import keras_duo

for name in json.load(open("cases.json")):
    model = keras.saving.load_model(f"{name}.keras")
    data = np.load(f"{name}.npz")
    if "y" in data:
        value = model.loss(data["y"], data["x"])
        assert (model.loss.name, model.loss.dtype) == tuple(data["identity"]), name
    else:
        value = model(data["x"])
    value = keras.ops.convert_to_numpy(value)
    np.testing.assert_allclose(value, data["value"], rtol=1e-6, err_msg=name)
    print("same", name)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


def run(code, folder):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_values_are_the_same_in_a_new_process(folder):
    import json

    names = []
    for case in LOSSES:
        for i, loss in enumerate(losses(case, dtype="float16", name="given_name")):
            names.append(f"{case}{i}")
            model = keras.Sequential([keras.Input(case.y_pred.shape[1:]), keras.layers.Identity()])
            model.compile(loss=loss)
            model.save(folder / f"{case}{i}.keras")
            x = case.y_pred.astype("float32")
            np.savez(
                folder / f"{case}{i}.npz",
                x=x,
                y=case.y_true,
                value=numpy(loss(case.y_true, x)),
                identity=["given_name", "float16"],
            )
    for case in LAYERS:
        for i, layer in enumerate(layers(case)):
            names.append(f"{case}{i}")
            model = model_of(layer, case)
            model.save(folder / f"{case}{i}.keras")
            x = inputs(case)
            np.savez(folder / f"{case}{i}.npz", x=x, value=numpy(model(x)))
    (folder / "cases.json").write_text(json.dumps(names))

    result = run(LOAD, folder)
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.split("\n")[:-1] == [f"same {name}" for name in names]


def test_a_file_without_the_import_says_what_is_missing(folder):
    model = model_of(LAYERS[0].layer(), LAYERS[0])
    model.save(folder / "plain.keras")
    result = run("import keras; keras.saving.load_model('plain.keras')", folder)
    assert result.returncode != 0
    assert "keras_duo>LearnableActivation" in result.stderr
    assert "imported" in result.stderr

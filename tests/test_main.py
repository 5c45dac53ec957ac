"""The command line: exit statuses, output, safe mode."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from keras_duo.__main__ import main
from keras_duo.check import check
from keras_duo.pairs import pairs, recommend

X = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
Y = (X[:, :1] > 0).astype("float32")


def saved(folder, *steps, loss="binary_crossentropy", **arguments):
    model = keras.Sequential([keras.Input((4,)), *steps])
    if loss is not None:
        model.compile("sgd", loss=loss, **arguments)
    model.save(folder / "model.keras")
    return str(folder / "model.keras")


def test_clean(tmp_path, capsys):
    assert main(["check", saved(tmp_path, layers.Dense(1, "sigmoid"))]) == 0
    assert capsys.readouterr().out == "No findings.\n"


def test_findings(tmp_path, capsys):
    path = saved(tmp_path, layers.Dense(1))
    assert main(["check", path]) == 1
    assert capsys.readouterr().out.startswith("error: logits-as-probabilities: output 'dense")


def test_json(tmp_path, capsys):
    path = saved(tmp_path, layers.Dense(1))
    assert main(["check", path, "--json"]) == 1
    found = check(keras.saving.load_model(path))
    assert json.loads(capsys.readouterr().out) == [finding.to_dict() for finding in found]
    assert main(["check", saved(tmp_path, layers.Dense(1), loss="mse"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_advice_does_not_count(tmp_path, capsys):
    path = saved(tmp_path, layers.Dense(3, "sigmoid"), metrics=["accuracy"])
    assert main(["check", path]) == 0
    assert "advice: metric-multi-label" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("steps", "loss", "said"),
    [
        ([layers.Dense(1), layers.UnitNormalization()], "bce", "unknown: unknown-output"),
        pytest.param(
            [layers.Dense(1)], None, "unknown: not-compiled",
            marks=pytest.mark.filterwarnings("ignore::UserWarning"),
        ),
    ],
)  # fmt: skip
def test_could_not_be_checked(tmp_path, capsys, steps, loss, said):
    assert main(["check", saved(tmp_path, *steps, loss=loss)]) == 2
    assert said in capsys.readouterr().out


class TestData:
    def test_one_input_and_output(self, tmp_path, capsys):
        path = saved(tmp_path, layers.Dense(1, "sigmoid"))
        for labels, status in ((Y, 0), (2 * Y - 1, 1)):
            np.savez(tmp_path / "batch.npz", x=X, y=labels)
            assert main(["check", path, "--data", str(tmp_path / "batch.npz")]) == status
        assert "labels-not-probabilities" in capsys.readouterr().out

    def test_several(self, tmp_path, capsys):
        a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
        outputs = [layers.Dense(1, "sigmoid", name="p")(a), layers.Dense(1, name="q")(b)]
        model = keras.Model([a, b], outputs)
        model.compile("sgd", loss=["bce", "mse"])
        model.save(tmp_path / "model.keras")
        data = {"x_a": X, "x_b": X, "y_p": Y, "y_q": np.nan * Y}
        np.savez(tmp_path / "batch.npz", **data)
        command = ["check", str(tmp_path / "model.keras"), "--data", str(tmp_path / "batch.npz")]
        assert main(command) == 1
        assert "error: not-finite: output 'q'" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            ({"inputs": X}, "must hold x or y. Received: ['inputs']"),
            ({"x": X, "y": Y[:3]}, "must hold as many examples each"),
            ({"x": X, "y": np.array([{}] * 40)}, "allow_pickle=False"),
        ],
    )
    def test_that_cannot_be_read(self, tmp_path, capsys, data, said):
        np.savez(tmp_path / "batch.npz", **data)
        path = saved(tmp_path, layers.Dense(1, "sigmoid"))
        assert main(["check", path, "--data", str(tmp_path / "batch.npz")]) == 2
        assert said in capsys.readouterr().err


class TestFile:
    def test_missing(self, tmp_path, capsys):
        assert main(["check", str(tmp_path / "none.keras")]) == 2
        assert "keras_duo: " in capsys.readouterr().err

    def test_of_another_kind(self, tmp_path, capsys):
        (tmp_path / "model.h5").write_text("")
        assert main(["check", str(tmp_path / "model.h5")]) == 2
        assert "must be a .keras file" in capsys.readouterr().err

    def test_that_needs_code_is_not_loaded(self, tmp_path, capsys):
        path = saved(tmp_path, layers.Lambda(lambda x: x + 1), layers.Dense(1, "sigmoid"))
        assert main(["check", path]) == 2
        assert "safe" in capsys.readouterr().err


def test_recommend(capsys):
    assert main(["recommend", "--task", "binary", "--data", "imbalanced"]) == 0
    assert capsys.readouterr().out == f"{recommend('binary', 'imbalanced')}\n"
    assert main(["recommend", "--task", "poetry"]) == 2
    assert "`task` must be one of" in capsys.readouterr().err


def test_pairs(capsys):
    assert main(["pairs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(pairs())
    for line, pair in zip(lines[1:], pairs(), strict=True):
        assert line.split("  ")[0] == pair.task
        assert pair.partners in line


def test_no_command():
    with pytest.raises(SystemExit) as error:
        main([])
    assert error.value.code == 2


class TestRich:
    @pytest.fixture(autouse=True)
    def terminal(self, monkeypatch):
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", "200")

    def test_where_it_is_installed_and_someone_looks(self, tmp_path, capsys):
        path = saved(tmp_path, layers.Dense(1))
        assert main(["check", path]) == 1
        coloured = capsys.readouterr().out
        assert "\x1b[1;31merror: logits-as-probabilities" in coloured
        assert "Values outside [0, 1] are clipped" in coloured
        assert main(["pairs"]) == 0
        assert "─" in capsys.readouterr().out

    def test_plain_where_it_is_not(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setitem(sys.modules, "rich.console", None)
        assert main(["check", saved(tmp_path, layers.Dense(1))]) == 1
        assert main(["pairs"]) == 0
        assert "\x1b" not in capsys.readouterr().out


def test_as_a_module(tmp_path):
    path = saved(tmp_path, layers.Dense(1))
    root = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-m", "keras_duo", "check", path, "--json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert done.returncode == 1
    assert json.loads(done.stdout)[0]["code"] == "logits-as-probabilities"

"""The examples compile pairs that fit: check has nothing to say about the models they train."""

import contextlib
import runpy
import sys
from functools import partialmethod
from pathlib import Path

import keras
import pytest

from keras_duo import check

EXAMPLES = Path(__file__).parents[2] / "examples"
DIGITS = ["--data", "digits"]  # those that come with scikit-learn
SOME = ["relu", "Rational(axis=-1)", "MetaAcon()", "DynamicReLU()", "AttentionActivation()"]
# What an example takes instead, or with them to be done sooner.
ARGUMENTS = {
    # Its models differ in the activation alone.
    "activations": [*DIGITS, "--rounds", "1", "--only", *SOME],
    "meta_loss": [*DIGITS, "--epochs", "1", "--noise", "0.6"],
    "quantiles": [],
    "transformer": ["--data", "manual"],
}

pytestmark = pytest.mark.slow


class EveryModelSeenError(Exception):
    """The example starts over with models that have been checked."""


def first(count, structure):
    return keras.tree.map_structure(lambda a: None if a is None else a[:count], structure)


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.py")))
def test_check_is_silent_on_an_example(name, monkeypatch, tmp_path):
    plain_fit, plain_compile, seen = keras.Model.fit, keras.Model.compile, []

    def fit(model, x, y=None, **options):
        kind = ([type(layer) for layer in model.layers], repr(model.get_compile_config()["loss"]))
        if kind in seen:
            raise EveryModelSeenError
        seen.append(kind)
        # Of class balance an example about imbalance knows.
        probe, labels = first(512, (x, y))
        findings = [f for f in check(model, probe, labels) if f.severity != "advice"]
        assert findings == []
        options |= {"epochs": 1, "verbose": 0, "steps_per_epoch": None}
        few = {"sample_weight", "validation_data"} & options.keys()
        options |= {name: first(64, options[name]) for name in few}
        return plain_fit(model, *first(64, (x, y)), **options)

    def end(*args, **kwargs):
        raise EveryModelSeenError

    monkeypatch.setattr(keras.Model, "fit", fit)
    # An example saves when all of its models are trained.
    monkeypatch.setattr(keras.Model, "save", end)
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])
    # Most of the time would go to graphs of which each runs a few steps.
    monkeypatch.setattr(keras.Model, "compile", partialmethod(plain_compile, run_eagerly=True))
    arguments = ARGUMENTS.get(name, DIGITS)
    monkeypatch.setattr(sys, "argv", [name, *arguments, "--out", str(tmp_path)])
    with contextlib.suppress(EveryModelSeenError):
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    # Its figures, which end with the process of an example otherwise.
    sys.modules["matplotlib.pyplot"].close("all")
    assert seen

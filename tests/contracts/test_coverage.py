"""No public class without its line in the table, and no line without its class."""

import inspect
import re
from pathlib import Path

import keras

import keras_duo as duo
from tests.contracts.table import LAYERS, LOSSES, METRICS


def public_classes(base):
    return {
        value
        for name in duo.__all__
        if inspect.isclass(value := getattr(duo, name)) and issubclass(value, base)
    }


def test_every_public_loss_is_in_the_table():
    assert {case.loss for case in LOSSES} == public_classes(keras.losses.Loss)


def test_every_public_layer_is_in_the_table():
    layers = public_classes(keras.layers.Layer) - public_classes(keras.Model)
    assert {case.layer for case in LAYERS} == layers


def test_every_public_model_has_tests():
    paths = (Path(__file__).parents[1] / "models").glob("test_*.py")
    tests = "".join(path.read_text() for path in paths)
    for model in public_classes(keras.Model):
        assert re.search(rf"\b{model.__name__}\(", tests), model


def test_every_public_metric_is_in_the_table():
    assert {case.metric for case in METRICS} == public_classes(keras.metrics.Metric)


def test_every_registered_class_is_public():
    registered = {
        cls
        for name, cls in keras.saving.get_custom_objects().items()
        if name.startswith("keras_duo>")
    }
    assert registered == {
        value
        for name in duo.__all__
        if inspect.isclass(value := getattr(duo, name))
        and keras.saving.get_registered_name(value).startswith("keras_duo>")
    }
    cases = {c.loss for c in LOSSES} | {c.layer for c in LAYERS} | {c.metric for c in METRICS}
    assert registered >= cases

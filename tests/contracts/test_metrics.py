"""What every metric promises, over every metric of the table."""

import inspect
import tempfile
from pathlib import Path

import keras
import pytest
from keras import ops

from tests.backend import numpy
from tests.contracts.loss_promises import assert_same
from tests.contracts.table import METRICS


@pytest.fixture(params=METRICS, ids=str)
def case(request):
    return request.param


def metrics(case, **kwargs):
    return [case.make(**{**variant, **kwargs}) for variant in case.variants]


def result(metric, case, dtype="float32"):
    metric.update_state(case.y_true, ops.cast(case.y_pred, dtype))
    return numpy(metric.result())


def test_it_starts_and_restarts_at_nothing(case):
    for metric in metrics(case):
        start = numpy(metric.result())
        once = result(metric, case)
        assert once.shape == ()
        assert once != start
        if not case.of_moments:
            assert_same(result(metric, case), once)  # the same batch again moves no mean
        metric.reset_state()
        assert_same(numpy(metric.result()), start)


def test_two_batches_are_one(case):
    for metric, again in zip(metrics(case), metrics(case), strict=True):
        for part in (slice(1), slice(1, 4)):
            again.update_state(case.y_true[part], case.y_pred[part].astype("float32"))
        assert_same(numpy(again.result()), result(metric, case))


def test_half_precision_outputs_are_summed_in_float32(case):
    for dtype in ("float16", "bfloat16"):
        wide = numpy(ops.cast(ops.cast(case.y_pred, dtype), "float32")).astype("float32")
        for metric, again in zip(metrics(case), metrics(case), strict=True):
            again.update_state(case.y_true, wide)
            assert_same(result(metric, case, dtype), numpy(again.result()))


def test_it_survives_a_file_by_value(case):
    for metric in metrics(case):
        model = keras.Sequential([keras.Input(case.y_pred.shape[1:]), keras.layers.Identity()])
        model.compile(loss="mse", metrics=[metric])
        with tempfile.TemporaryDirectory() as folder:
            model.save(Path(folder, "model.keras"))
            again = keras.saving.load_model(Path(folder, "model.keras"))
        config = again.get_compile_config()["metrics"][0]
        loaded = keras.saving.deserialize_keras_object(config)
        assert (type(loaded), loaded.name) == (type(metric), metric.name)
        assert_same(result(loaded, case), result(metric, case))


def test_its_config_holds_every_argument(case):
    for metric in metrics(case):
        config = metric.get_config()
        assert set(inspect.signature(case.metric).parameters) <= set(config)
        again = case.metric.from_config(config)
        assert_same(result(again, case), result(metric, case))


def test_it_refuses_bad_arguments_by_name(case):
    for arguments in case.bad_arguments:
        (name,) = arguments
        with pytest.raises(ValueError, match=f"`{name}`.*Received"):
            case.make(**arguments)


def test_it_is_registered_and_documented(case):
    assert keras.saving.get_registered_name(case.metric) == f"keras_duo>{case.metric.__name__}"
    for part in ("Args:", "Example:"):
        assert part in case.metric.__doc__, part

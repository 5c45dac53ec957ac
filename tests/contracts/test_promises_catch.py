"""The contracts under test: each deliberately broken loss must break the promise beside it."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import ops

import keras_duo as duo
from keras_duo.losses import focal_loss
from tests.backend import BACKEND, numpy
from tests.contracts import loss_promises as promises
from tests.contracts.table import LOSSES

if BACKEND != "tensorflow":
    pytest.skip("elsewhere the promises try two variants of each", allow_module_level=True)

FOCAL = next(case for case in LOSSES if case.loss is duo.Focal)
SPARSE = next(case for case in LOSSES if case.loss is duo.SparseCategoricalFocal)


class OneNumberForTheBatch(duo.Focal):
    def call(self, y_true, y_pred):
        return ops.mean(super().call(y_true, y_pred))


class MixesExamples(duo.Focal):
    def call(self, y_true, y_pred):
        values = super().call(y_true, y_pred)
        return values - ops.min(values) + 1.0


class ForgetsAnArgument(duo.Focal):
    def get_config(self):
        return {k: v for k, v in super().get_config().items() if k != "gamma"}


class ForgetsItsDtype(duo.Focal):
    def get_config(self):
        return {**super().get_config(), "dtype": "float32"}


class IgnoresAnArgument(duo.Focal):
    def call(self, y_true, y_pred):
        return focal_loss(y_true, y_pred, from_logits=self.from_logits)


class ComputesInHalfPrecision(duo.Focal):
    def call(self, y_true, y_pred):
        return ops.cast(super().call(y_true, ops.cast(y_pred, "float16")), "float16")


class StopsTheGradient(duo.Focal):
    def call(self, y_true, y_pred):
        return super().call(y_true, ops.clip(y_pred, 0.4, 0.6))


class OverflowsAtTheExtremes(duo.Focal):
    def call(self, y_true, y_pred):
        return super().call(y_true, y_pred) + 0.0 * ops.mean(ops.exp(y_pred), axis=-1)


class DependsOnTracing(duo.Focal):
    def call(self, y_true, y_pred):
        is_traced = not hasattr(y_pred, "__array__") or not _is_concrete(y_pred)
        return super().call(y_true, y_pred) + (1.0 if is_traced else 0.0)


class Broadcasts(duo.Focal):
    def call(self, y_true, y_pred):
        error = ops.cast(y_true, y_pred.dtype) - y_pred
        return ops.mean(ops.square(error), axis=-1)


class CastsItsLabels(duo.SparseCategoricalFocal):
    def call(self, y_true, y_pred):
        return super().call(ops.cast(y_true, "bfloat16"), y_pred)


class KeepsMaskedNan(duo.Focal):
    def _blank(self, labels, output, weights):
        return labels, output


class WeightsTheLastAxis(duo.Focal):
    def __call__(self, y_true, y_pred, sample_weight=None):
        return keras.losses.Loss.__call__(self, y_true, y_pred, sample_weight)


class TakesAnything(duo.Focal):
    def __init__(self, **kwargs):
        super().__init__(**{k: v for k, v in kwargs.items() if k in ("name", "dtype")})


def _is_concrete(tensor):
    try:
        np.asarray(tensor)
    except Exception:  # each backend refuses a traced tensor with an exception of its own
        return False
    return True


@pytest.mark.parametrize(
    ("broken", "base", "promise"),
    [
        (OneNumberForTheBatch, FOCAL, promises.gives_one_value_an_example),
        (MixesExamples, FOCAL, promises.keeps_examples_apart),
        (ForgetsAnArgument, FOCAL, promises.holds_every_argument_in_its_config),
        (ForgetsAnArgument, FOCAL, promises.survives_a_file_by_value),
        (ForgetsItsDtype, FOCAL, promises.survives_a_file_by_value),
        (IgnoresAnArgument, FOCAL, promises.equals_its_function),
        (ComputesInHalfPrecision, FOCAL, promises.computes_in_float32_or_wider),
        (ComputesInHalfPrecision, FOCAL, promises.has_the_gradient_of_its_value),
        (StopsTheGradient, FOCAL, promises.equals_its_function),
        (OverflowsAtTheExtremes, FOCAL, promises.stays_finite_at_the_extremes),
        (DependsOnTracing, FOCAL, promises.is_the_same_compiled),
        (Broadcasts, FOCAL, promises.never_broadcasts),
        (CastsItsLabels, SPARSE, promises.keeps_class_ids_exact),
        (KeepsMaskedNan, FOCAL, promises.a_zero_weight_stops_nan),
        (KeepsMaskedNan, FOCAL, promises.honours_the_keras_mask),
        (WeightsTheLastAxis, FOCAL, promises.reduces_as_keras_does),
        (WeightsTheLastAxis, FOCAL, promises.refuses_a_weight_that_does_not_fit),
        (TakesAnything, FOCAL, promises.refuses_bad_arguments_by_name),
        (Broadcasts, FOCAL, promises.is_registered_and_documented),
    ],
)
def test_a_broken_loss_is_caught(broken, base, promise):
    promise(base)
    # However it fails: by an assertion, by a missing error, by an error of another kind.
    with pytest.raises((Exception, pytest.fail.Exception)):
        promise(replace(base, loss=broken))


def test_shapes_are_compared_before_values():
    """NumPy would broadcast (4,) against (4, 1) and call them close."""
    with pytest.raises(AssertionError):
        promises.assert_same(np.ones(4), np.ones((4, 1)))


def test_the_gradient_promise_sees_a_wrong_gradient():
    class HalfTheGradient(duo.Focal):
        def call(self, y_true, y_pred):
            return super().call(y_true, 0.5 * y_pred + ops.stop_gradient(0.5 * y_pred))

    case = replace(FOCAL, loss=HalfTheGradient)
    expected = numpy(promises.values(duo.Focal(), FOCAL))
    promises.assert_same(numpy(promises.values(HalfTheGradient(), case)), expected)
    with pytest.raises(AssertionError):
        promises.has_the_gradient_of_its_value(case)

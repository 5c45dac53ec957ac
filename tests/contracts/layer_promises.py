"""What every layer promises. Each function takes a `LayerCase` and fails where it is broken."""

import inspect
import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from tests.backend import BACKEND, compiled, gradient, has_float64, numpy, weight_gradients
from tests.contracts.loss_promises import assert_same
from tests.contracts.table import variants_of

PROMISES = []


def promise(function):
    PROMISES.append(function)
    return function


def layers(case, **kwargs):
    return [case.make(**variant, **kwargs) for variant in variants_of(case)]


def inputs(case, batch=3):
    return np.random.default_rng(0).normal(size=(batch, *case.input_shape)).astype("float32")


def perturb(layer):
    """Weights that are not the initial ones, so that a lost weight shows."""
    random = np.random.default_rng(3)
    for variable in layer.weights:
        variable.assign(variable + random.uniform(0.1, 0.5, variable.shape))


def model_of(layer, case):
    model = keras.Sequential([keras.Input(case.input_shape), layer])
    perturb(layer)
    return model


@promise
def knows_its_output_shape(case):
    for layer in layers(case):
        output = layer(inputs(case))
        assert tuple(output.shape) == tuple(layer.compute_output_shape((3, *case.input_shape)))


@promise
def keeps_examples_apart(case):
    for layer in layers(case):
        together = numpy(layer(inputs(case)))
        for i in range(3):
            assert_same(numpy(layer(inputs(case)[i : i + 1])), together[i : i + 1], atol=case.atol)


@promise
def follows_the_dtype_policy(case):
    for policy, compute, variable in (
        ("float32", "float32", "float32"),
        ("mixed_float16", "float16", "float32"),
        ("mixed_bfloat16", "bfloat16", "float32"),
        ("float64", "float64", "float64"),
    ):
        if policy == "float64" and BACKEND == "jax":
            continue
        for layer in layers(case, dtype=policy):
            output = layer(inputs(case))
            assert keras.backend.standardize_dtype(output.dtype) == compute
            assert {keras.backend.standardize_dtype(v.dtype) for v in layer.weights} == {variable}
            assert np.isfinite(numpy(output)).all()


@promise
def survives_a_file_by_value(case):
    for layer in layers(case):
        model = model_of(layer, case)
        with tempfile.TemporaryDirectory() as folder:
            model.save(Path(folder, "model.keras"))
            custom_objects = {case.layer.__name__: case.layer}
            again = keras.saving.load_model(Path(folder, "model.keras"), custom_objects)
        assert_same(numpy(again(inputs(case))), numpy(model(inputs(case))), atol=case.atol)
        assert [v.trainable for v in again.weights] == [v.trainable for v in model.weights]


@promise
def survives_cloning_and_export(case):
    for i, layer in enumerate(layers(case)):
        model = model_of(layer, case)
        clone = keras.models.clone_model(model)
        assert len(clone.trainable_variables) == len(model.trainable_variables)
        clone.set_weights(model.get_weights())
        assert_same(numpy(clone(inputs(case))), numpy(model(inputs(case))), atol=case.atol)
        if BACKEND != "tensorflow" or i:
            continue
        import tensorflow as tf

        with tempfile.TemporaryDirectory() as folder:
            model.export(folder, verbose=False)
            loaded = tf.saved_model.load(folder)
            served = loaded.serve(inputs(case))
        assert_same(numpy(served), numpy(model(inputs(case))), atol=case.atol)


@promise
def holds_every_argument_in_its_config(case):
    for layer in layers(case):
        config = layer.get_config()
        arguments = set(inspect.signature(case.layer.__init__).parameters) - {"self", "kwargs"}
        assert arguments | {"name", "dtype", "trainable"} <= set(config)
        assert case.layer.from_config(config).get_config() == config
    for variant in case.variants:
        again = case.layer.from_config(case.make(**variant).get_config())
        for key, value in variant.items():
            kept = getattr(again, key)
            assert kept == value or not isinstance(kept, (int, float, str, type(None)))


@promise
def sends_a_gradient_to_every_weight(case):
    for layer in layers(case):
        model = model_of(layer, case)
        model.compile(keras.optimizers.SGD(0.1), "mse")
        before = [numpy(v) for v in model.trainable_variables]
        assert len(before) == len(layer.trainable_variables) > 0
        target = np.random.default_rng(5).normal(size=model.output_shape[1:]) + 1
        model.train_on_batch(inputs(case), np.broadcast_to(target, (3, *target.shape)))
        for old, variable in zip(before, model.trainable_variables, strict=True):
            assert (numpy(variable) != old).any(), variable.path


@promise
def has_the_gradient_of_its_value(case):
    dtype, step = ("float64", 1e-5) if has_float64() else ("float32", 2e-3)
    for layer in layers(case, dtype=dtype):
        model_of(layer, case)
        x = inputs(case).astype(dtype)

        def total(x, layer=layer):
            return ops.sum(layer(x))

        slopes, errors = gradient(total, x), []
        for direction in np.random.default_rng(2).normal(size=(5, *x.shape)).astype(dtype):
            rise = numpy(total(x + step * direction)) - numpy(total(x - step * direction))
            expected = rise / (2 * step)
            errors.append(abs((slopes * direction).sum() - expected) / (1 + abs(expected)))
        # In most directions: on some a kink lies between the two points.
        assert np.median(errors) < 1e-2


@promise
def has_the_gradient_of_its_weights(case):
    dtype, step = ("float64", 1e-5) if has_float64() else ("float32", 2e-3)
    random = np.random.default_rng(2)
    for layer in layers(case, dtype=dtype):
        model_of(layer, case)
        x = inputs(case).astype(dtype)
        upstream = random.normal(size=layer(x).shape).astype(dtype)
        found = weight_gradients(layer, x, upstream)
        for variable, slopes in zip(layer.trainable_variables, found, strict=True):
            start = numpy(variable)
            direction = random.normal(size=start.shape)
            totals = []
            for sign in (1, -1):
                variable.assign(start + sign * step * direction)
                totals.append((numpy(layer(x)) * upstream).sum())
            variable.assign(start)
            expected = (totals[0] - totals[1]) / (2 * step)
            # The step that single precision needs runs into kinks.
            tolerance = 1e-6 if has_float64() else 5e-2
            np.testing.assert_allclose(
                (slopes * direction).sum(), expected, tolerance, tolerance, err_msg=variable.path
            )


@promise
def stays_finite_at_the_extremes(case):
    if not case.as_activation:
        return
    extremes = np.resize([1e4, -1e4, 0.0, 1e3, -1e3], (3, *case.input_shape)).astype("float32")
    for policy in ("float32", "mixed_float16", "mixed_bfloat16"):
        for layer in layers(case, dtype=policy):
            model_of(layer, case)
            x = ops.cast(extremes, layer.compute_dtype)
            for found in (layer(x), ops.convert_to_tensor(gradient(layer, x))):
                assert np.isfinite(numpy(found)).all()
            for slopes in weight_gradients(layer, x, np.ones_like(extremes)):
                assert np.isfinite(slopes).all()


@promise
def is_the_same_compiled(case):
    for layer in layers(case):
        model = model_of(layer, case)
        x = ops.convert_to_tensor(inputs(case))
        for xla in (False, True):
            assert_same(numpy(compiled(model, xla=xla)(x)), numpy(model(x)), atol=case.atol)


@promise
def passes_masks_on(case):
    x = inputs(case)
    x[:, 2:] = 0.0
    for layer in layers(case):
        masked = keras.layers.Masking()(ops.convert_to_tensor(x))
        mask = keras.layers.Masking().compute_mask(ops.convert_to_tensor(x))
        assert layer.supports_masking
        assert_same(numpy(layer.compute_mask(masked, mask)), numpy(mask))


@promise
def takes_unknown_batch_and_length(case):
    if BACKEND != "tensorflow" or len(case.input_shape) < 2:
        return
    import tensorflow as tf

    for layer in layers(case):
        if getattr(layer, "axis", None) == 1:
            continue
        layer(inputs(case))
        perturb(layer)
        unknown = [None, None, *case.input_shape[1:]]
        run = tf.function(
            lambda x, layer=layer: layer(x),
            input_signature=[tf.TensorSpec(unknown)],
            autograph=False,
        )
        for x in (inputs(case), inputs(case)[:1, :2]):
            assert_same(numpy(run(x)), numpy(layer(x)), atol=case.atol)


@promise
def refuses_bad_arguments_by_name(case):
    for arguments in case.bad_arguments:
        (name,) = arguments
        with pytest.raises(ValueError, match=f"`{name}`.*Received"):
            case.make(**arguments)
    for arguments, shape in case.bad_inputs:
        (name,) = arguments
        with pytest.raises(ValueError, match=f"`{name}`.*Received"):
            case.make(**arguments).build(shape)


@promise
def trains_as_an_activation(case):
    if not case.as_activation:
        return
    x = np.random.default_rng(0).normal(size=(8, 6, 2)).astype("float32")
    y = np.random.default_rng(1).normal(size=(8, 1)).astype("float32")
    # What is made when depends on the axis alone; each model takes seconds to compile.
    by_axis = {case.layer(**variant).axis: variant for variant in reversed(case.variants)}
    by_axis.pop(1, None)
    # JAX compiles each step whole, and takes the variables from the model as TensorFlow does.
    kinds = _HOLDERS if BACKEND == "tensorflow" else {"sequential": _sequential}
    for i, variant in enumerate(by_axis.values()):
        for kind, build in kinds.items():
            if i and build is _functional:
                continue  # the recurrent one, which takes half of the time
            held, model = _held(case, variant, build)
            if held[0].axis is None and kind != "subclassed":
                # Before the first step, and not only once it has been traced.
                ours = {id(v) for layer in held for v in layer.trainable_variables}
                assert ours
                assert ours <= {id(v) for v in model.trainable_variables}
            model.compile(keras.optimizers.SGD(0.1), "mse")
            model.train_on_batch(x, y)
            untrained, twin = _held(case, variant, build)
            twin(x)
            for layer, initial in zip(held, untrained, strict=True):
                moved = [
                    (numpy(after) != numpy(before)).any()
                    for after, before in zip(layer.weights, initial.weights, strict=True)
                ]
                assert any(moved), (kind, layer.name)


def _held(case, variant, build):
    """Layers and the model that holds them, with the same initial weights at each call."""
    keras.utils.set_random_seed(0)
    # A recurrent layer takes most of the time to compile: one kind of model has it.
    held = [case.layer(**variant) for _ in range(3 if build is _functional else 2)]
    return held, build(held)


def _functional(held):
    entry = keras.Input((6, 2))
    x = keras.layers.Conv1D(4, 3, activation=held[0])(entry)
    x = keras.layers.LSTM(5, activation=held[1])(x)
    x = keras.layers.Dense(3, activation=held[2])(x)
    return keras.Model(entry, keras.layers.Dense(1)(x))


def _sequential(held):
    return keras.Sequential([keras.Input((6, 2)), *_stack(held)])


def _stack(held):
    return [
        keras.layers.Conv1D(4, 3, activation=held[0]),
        keras.layers.Flatten(),
        keras.layers.Dense(3, activation=held[1]),
        keras.layers.Dense(1),
    ]


class Subclassed(keras.Model):
    def __init__(self, held):
        super().__init__()
        self.stack = _stack(held)

    def call(self, x):
        for layer in self.stack:
            x = layer(x)
        return x


_HOLDERS = {"functional": _functional, "sequential": _sequential, "subclassed": Subclassed}


@promise
def is_made_from_a_dict_as_an_activation(case):
    """Keras takes no registered name as `activation=`; it takes this, which fits in a JSON file."""
    if not case.as_activation:
        return
    named = {"class_name": f"keras_duo>{case.layer.__name__}", "config": {}}
    first, second = (keras.layers.Dense(3, activation=named) for _ in range(2))
    assert type(first.activation) is case.layer
    assert first.activation is not second.activation


@promise
def warns_where_its_weights_are_listed_too_early(case):
    for variant in case.variants:
        if not case.as_activation or variant.get("axis") == 1 or case.layer(**variant).built:
            continue
        held, model = _held(case, variant, _functional)
        for listing in ("trainable_variables", "trainable_weights"):
            with pytest.warns(UserWarning, match="before its first call"):
                getattr(model, listing)
        # The remedy that the warning names.
        for layer, channels in zip(held, (4, 5, 3), strict=True):
            layer.build((None, channels))
        ours = {id(v) for layer in held for v in layer.trainable_variables}
        assert ours
        assert ours <= {id(v) for v in model.trainable_variables}


@promise
def is_registered_and_documented(case):
    assert keras.saving.get_registered_name(case.layer) == f"keras_duo>{case.layer.__name__}"
    for part in ("Args:", "Raises:", "Source:", "Example:", "Partner:", "shape:"):
        assert part in case.layer.__doc__, part

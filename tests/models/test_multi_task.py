"""MultiTask: the step against one worked by hand, state, precision, and what is refused."""

import keras
import numpy as np
import pytest

import keras_duo as duo
from keras_duo import weightings
from keras_duo.weightings._methods import METHODS
from tests.backend import BACKEND, numpy

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(64, 5)).astype("float32")
Y = {
    "near": RANDOM.normal(size=(64, 1)).astype("float32"),
    "far": (0.1 * RANDOM.normal(size=(64, 2))).astype("float32"),
    "side": RANDOM.integers(0, 2, (64, 1)).astype("float32"),
}
LOSSES = {"near": "mse", "far": keras.losses.Huber(0.3), "side": duo.Focal(gamma=0.0)}
OF_LOSSES = [name for name, method in METHODS.items() if not method.by_gradient]
OF_GRADIENTS = [name for name, method in METHODS.items() if method.by_gradient]

on_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="gradients of each task")


def network(regularizer=None):
    """Two shared layers, a head for each task, and one more layer that two tasks share."""
    keras.utils.set_random_seed(0)
    entry = keras.Input((5,))
    x = keras.layers.Dense(6, "tanh", kernel_regularizer=regularizer, name="first")(entry)
    x = keras.layers.Dense(4, "tanh", name="trunk")(x)
    pair = keras.layers.Dense(3, "tanh", name="pair")(x)
    outputs = {
        "near": keras.layers.Dense(1, name="near_head")(x),
        "far": keras.layers.Dense(2, name="far_head")(pair),
        "side": keras.layers.Dense(1, "sigmoid", name="side_head")(pair),
    }
    return keras.Model(entry, outputs)


def compiled(weighting, optimizer=None, regularizer=None, **kwargs):
    model = duo.MultiTask(network(regularizer))
    if not {"jit_compile", "steps_per_execution"} & set(kwargs):
        # Some tens of steps are faster than a graph of them; JAX is slow without one.
        kwargs.setdefault("run_eagerly", BACKEND == "tensorflow")
    model.compile(optimizer or keras.optimizers.SGD(0.1), LOSSES, weighting, **kwargs)
    return model


def fit(model, **kwargs):
    return model.fit(
        X, Y, **{"epochs": 1, "batch_size": 32, "verbose": 0, "shuffle": False, **kwargs}
    ).history


def weights_of(model):
    return [numpy(v) for v in model.model.trainable_variables]


def assert_all_close(first, second, **kwargs):
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a, b, **{"rtol": 1e-5, "atol": 1e-6, **kwargs})


def test_fixed_weights_are_those_of_keras():
    ours = compiled(
        "fixed",
        regularizer="l2",
        weighting_arguments={"weights": [1, 2, 5]},
        metrics={"side": "mse"},
    )
    theirs = network("l2")
    shares = {"near": 1 / 8, "far": 2 / 8, "side": 5 / 8}
    theirs.compile(
        keras.optimizers.SGD(0.1),
        LOSSES,
        loss_weights=shares,
        metrics={"side": "mse"},
        run_eagerly=ours.run_eagerly,
    )
    logs, expected = fit(ours, epochs=2), fit(theirs, epochs=2)
    assert_all_close(weights_of(ours), [numpy(v) for v in theirs.trainable_variables])
    assert set(expected) <= set(logs)
    for name, values in expected.items():
        np.testing.assert_allclose(logs[name], values, rtol=1e-4, err_msg=name)
    evaluated = ours.evaluate(X, Y, verbose=0, return_dict=True)
    again = theirs.evaluate(X, Y, verbose=0, return_dict=True)
    assert {name: evaluated[name] for name in again} == pytest.approx(again, rel=1e-4)


@pytest.mark.parametrize("weighting", OF_LOSSES)
def test_weights_of_losses_are_logged_and_sum_to_one(weighting):
    model = compiled(weighting)
    logs = fit(model, epochs=3)
    for weights in zip(*(logs[f"{name}_weight"] for name in Y), strict=True):
        assert sum(weights) == pytest.approx(1, abs=1e-6)
    assert sum(model.task_weights.values()) == pytest.approx(1, abs=1e-6)
    if weighting != "random":  # which is another loss at each step
        assert logs["loss"][-1] < logs["loss"][0]


def test_inverse_is_the_gradient_of_the_sum_of_logarithms():
    model, by_hand = compiled("inverse"), network()
    model.train_on_batch(X, Y)
    values = numpy_losses(by_hand)
    shares = 1 / values / (1 / values).sum()
    by_hand.compile(
        keras.optimizers.SGD(0.1), LOSSES, loss_weights=dict(zip(Y, shares.tolist(), strict=True))
    )
    by_hand.train_on_batch(X, Y)
    assert_all_close(weights_of(model), [numpy(v) for v in by_hand.trainable_variables])
    assert list(model.task_weights.values()) == pytest.approx(shares.tolist(), rel=1e-5)


def numpy_losses(model):
    outputs = model(X)
    losses = {"near": keras.losses.MeanSquaredError(), **{k: LOSSES[k] for k in ("far", "side")}}
    return np.array([numpy(losses[name](Y[name], outputs[name])) for name in Y])


def test_uncertainty_descends_on_its_own_objective():
    model = compiled("uncertainty")
    values = numpy_losses(model.model)
    model.train_on_batch(X, Y)
    learned = numpy(model.task_state.log_variances)
    np.testing.assert_allclose(learned, -0.1 * (0.5 - values), rtol=1e-4)


def reference_gradients(model):
    """The gradient of each loss by each variable, None where there is none."""
    import tensorflow as tf

    variables = model.model.trainable_variables
    with tf.GradientTape(persistent=True) as tape:
        outputs = model.model(X, training=True)
        losses = {**LOSSES, "near": keras.losses.MeanSquaredError()}
        values = [losses[name](Y[name], outputs[name]) for name in Y]
    return variables, [tape.gradient(value, variables) for value in values]


@on_tensorflow
@pytest.mark.parametrize("representation", [None, "trunk"])
def test_shared_weights_get_the_weighted_gradient_and_heads_their_own(representation):
    model = compiled("nash", representation=representation)
    variables, rows = reference_gradients(model)
    names = [variable.path.split("/")[0] for variable in variables]
    shared = [i for i, name in enumerate(names) if not name.endswith("_head")]
    if representation is None:
        flat = [
            np.concatenate(
                [
                    np.zeros(np.prod(variables[i].shape))
                    if row[i] is None
                    else numpy(row[i]).ravel()
                    for i in shared
                ]
            )
            for row in rows
        ]
    else:
        flat = at_representation(model)
    jacobian = np.array(flat)
    found = numpy(weightings.nash((jacobian @ jacobian.T).astype("float32")))
    before = weights_of(model)
    model.train_on_batch(X, Y)
    assert list(model.task_weights.values()) == pytest.approx(found.tolist(), rel=1e-4)
    for i, variable in enumerate(variables):
        step = (before[i] - numpy(variable)) / 0.1
        present = [
            (w, numpy(row[i])) for w, row in zip(found, rows, strict=True) if row[i] is not None
        ]
        expected = sum(w * g for w, g in present) if i in shared else present[0][1]
        np.testing.assert_allclose(step, expected, rtol=1e-3, atol=1e-5, err_msg=variable.path)


def at_representation(model):
    import tensorflow as tf

    parts = keras.Model(
        model.model.input, [model.model.get_layer("trunk").output, model.model.output]
    )
    with tf.GradientTape(persistent=True) as tape:
        trunk, outputs = parts(X)
        losses = {**LOSSES, "near": keras.losses.MeanSquaredError()}
        values = [losses[name](Y[name], outputs[name]) for name in Y]
    return [numpy(tape.gradient(value, trunk)).ravel() for value in values]


@on_tensorflow
@pytest.mark.parametrize("representation", [None, "trunk"])
def test_losses_of_layers_count_once(representation):
    plain = compiled("balanced", representation=representation)
    regular = compiled(
        "balanced", representation=representation, regularizer=keras.regularizers.L2(0.5)
    )
    kernel = numpy(plain.model.trainable_variables[0])
    logs = [model.train_on_batch(X, Y, return_dict=True)["loss"] for model in (plain, regular)]
    assert logs[1] - logs[0] == pytest.approx(0.5 * (kernel**2).sum(), rel=1e-4)
    moved = weights_of(plain)[0] - weights_of(regular)[0]
    np.testing.assert_allclose(moved, 0.1 * kernel, rtol=1e-3, atol=1e-6)
    assert_all_close(weights_of(plain)[1:], weights_of(regular)[1:])


@on_tensorflow
@pytest.mark.parametrize("weighting", OF_GRADIENTS)
def test_gradient_methods_descend(weighting):
    model = compiled(weighting, keras.optimizers.SGD(0.05))
    first, _, last = (model.train_on_batch(X, Y, return_dict=True)["loss"] for _ in range(3))
    assert last < first


@on_tensorflow
@pytest.mark.parametrize(
    ("representation", "options"),
    [(None, {"jit_compile": True}), ("trunk", {"steps_per_execution": 2})],
)
def test_every_kind_of_step_is_the_same(representation, options):
    eager = compiled("cagrad", representation=representation)
    graph = compiled("cagrad", representation=representation, **options)
    fit(eager), fit(graph)
    assert_all_close(weights_of(eager), weights_of(graph), rtol=1e-3, atol=1e-4)


STATEFUL = {
    "famo": {},
    "dwa": {"window": 1},
    "uncertainty": {},
    "random": {},
    **({"gradnorm": {}, "pcgrad": {}} if BACKEND == "tensorflow" else {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("weighting", STATEFUL)
def test_a_resumed_run_is_the_uninterrupted_one(weighting, tmp_path):
    options = {"weighting_arguments": STATEFUL[weighting]}
    whole = compiled(weighting, keras.optimizers.Adam(0.01), **options)
    fit(whole, epochs=2)
    half = compiled(weighting, keras.optimizers.Adam(0.01), **options)
    fit(half)
    half.save(tmp_path / "half.keras")
    resumed = keras.saving.load_model(tmp_path / "half.keras")
    assert resumed.task_weights == half.task_weights
    assert resumed.get_compile_config()["weighting_arguments"] == STATEFUL[weighting]
    fit(resumed)
    for a, b in zip(whole.variables, resumed.variables, strict=True):
        np.testing.assert_array_equal(numpy(a), numpy(b), err_msg=a.path)
    assert resumed.task_weights == whole.task_weights


def test_reload_keeps_losses_and_groups(tmp_path):
    model = duo.MultiTask(network(), objectives={"one": ["near", "far"], "two": ["side"]})
    model.compile("sgd", LOSSES, "inverse", {"minimum": -1.0}, run_eagerly=BACKEND == "tensorflow")
    logs = fit(model)
    assert {"one_loss", "two_loss", "one_weight", "two_weight"} <= set(logs)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.objectives == model.objectives
    expected = model.evaluate(X, Y, verbose=0, return_dict=True)
    assert again.evaluate(X, Y, verbose=0, return_dict=True) == pytest.approx(expected, rel=1e-6)
    model.model.save(tmp_path / "plain.keras")
    plain = keras.saving.load_model(tmp_path / "plain.keras")
    for name, output in model(X).items():
        np.testing.assert_array_equal(numpy(plain(X)[name]), numpy(output))


@pytest.mark.misfit  # a probability in half precision
@pytest.mark.parametrize("weighting", ["inverse", *(["nash"] if BACKEND == "tensorflow" else [])])
def test_mixed_float16_takes_the_step_of_float32(weighting):
    wide = compiled(weighting)
    keras.config.set_dtype_policy("mixed_float16")
    half = compiled(weighting)
    before = weights_of(wide)
    for model in (wide, half):
        model.train_on_batch(X, Y)
    if BACKEND == "tensorflow":
        assert isinstance(half.optimizer, keras.optimizers.LossScaleOptimizer)
    for start, a, b in zip(before, weights_of(wide), weights_of(half), strict=True):
        assert np.abs(a - b).max() <= 0.03 * np.abs(a - start).max() + 1e-5


@pytest.mark.misfit
@on_tensorflow
def test_a_step_that_is_not_finite_leaves_no_trace_in_the_state():
    model = compiled("gradnorm")
    fit(model)
    before = [numpy(v) for v in model.task_state.variables]
    broken = {**Y, "near": np.full_like(Y["near"], np.nan)}
    model.train_on_batch(X, broken)
    for a, v in zip(before, model.task_state.variables, strict=True):
        np.testing.assert_array_equal(a, numpy(v))


def test_lists_and_sample_weights_are_taken_in_the_order_of_the_outputs():
    model = network()
    listed = keras.Model(model.input, [model.output[name] for name in Y])
    ours = duo.MultiTask(listed)
    ours.compile("sgd", [LOSSES[name] for name in Y], weighting="fixed")
    weight = np.linspace(0, 2, 64).astype("float32")
    losses = {**LOSSES, "near": keras.losses.MeanSquaredError()}
    values = [losses[n](Y[n], model(X)[n], weight) for n in Y]
    found = ours.test_on_batch(X, [Y[n] for n in Y], sample_weight=weight, return_dict=True)
    assert found["loss"] == pytest.approx(np.mean([numpy(v) for v in values]), rel=1e-5)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.trunk = keras.layers.Dense(4, "tanh")
        self.heads = {n: keras.layers.Dense(u) for n, u in (("near", 1), ("far", 2), ("side", 1))}

    def call(self, x):
        x = self.trunk(x)
        return {name: head(x) for name, head in self.heads.items()}


def test_a_subclassed_model_is_trained_by_names():
    model = duo.MultiTask(Subclassed())
    model.compile(
        "sgd", {"near": "mse", "far": "mse", "side": "mse"}, run_eagerly=BACKEND == "tensorflow"
    )
    logs = fit(model, epochs=3)
    assert logs["loss"][-1] < logs["loss"][0]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"loss": {"near": "mse"}}, "loss"),
        ({"loss": {"nowhere": "mse", "near": "mse"}}, "loss"),
        ({"loss": {"near": "no such loss", "far": "mse"}}, "loss"),
        ({"loss": ["mse"]}, "loss"),
        ({"weighting": "softmax"}, "weighting"),
        ({"weighting_arguments": {"c": 0.5}}, "weighting_arguments"),
        ({"weighting_arguments": 3}, "weighting_arguments"),
        ({"weighting": "fixed", "weighting_arguments": {"weights": [1, 2]}}, "weights"),
        ({"weighting": "dwa", "weighting_arguments": {"window": 0}}, "window"),
        ({"representation": "trunk"}, "representation"),
        ({"loss_weights": [1, 2, 3]}, "loss_weights"),
    ],
)
def test_bad_arguments_of_compile_are_refused(arguments, name):
    model = duo.MultiTask(network())
    with pytest.raises(ValueError, match=f"`{name}`.*Received"):
        model.compile(**{"loss": LOSSES, **arguments})


@on_tensorflow
@pytest.mark.parametrize("representation", ["no such layer", 3])
def test_a_representation_must_be_a_layer(representation):
    with pytest.raises(ValueError, match=r"`representation` must name a layer.*Received"):
        compiled("mgda", representation=representation)


@pytest.mark.skipif(BACKEND == "tensorflow", reason="TensorFlow has them")
def test_gradient_methods_say_that_they_need_tensorflow():
    with pytest.raises(NotImplementedError, match="TensorFlow backend"):
        compiled("mgda")


@pytest.mark.parametrize("model", [None, "model", keras.layers.Dense(1)])
def test_a_model_must_be_one(model):
    with pytest.raises(ValueError, match=r"`model` must be a keras\.Model.*Received"):
        duo.MultiTask(model)


@pytest.mark.parametrize("objectives", [{}, {"a": ["near"]}, {"a": "near", "b": ["far"]}, ["near"]])
def test_objectives_must_be_groups_of_outputs(objectives):
    with pytest.raises(ValueError, match=r"`objectives` must be None or a dictionary.*Received"):
        duo.MultiTask(network(), objectives)


def test_compiling_again_goes_on_with_the_same_weighting():
    model = compiled("famo")
    fit(model)
    weights = model.task_weights
    model.compile("sgd", LOSSES, "famo", run_eagerly=model.run_eagerly)
    assert model.task_weights == weights
    fit(model)
    with pytest.raises(ValueError, match=r"`weighting`, its arguments.*weighting='uncertainty'"):
        model.compile("sgd", LOSSES, "uncertainty")


@on_tensorflow
def test_tasks_that_share_nothing_have_nothing_to_arbitrate():
    entry = keras.Input((5,))
    heads = {name: keras.layers.Dense(y.shape[1])(entry) for name, y in Y.items()}
    model = duo.MultiTask(keras.Model(entry, heads))
    model.compile("sgd", "mse", "mgda", run_eagerly=True)
    with pytest.raises(ValueError, match="`weighting` must not be a method of gradients"):
        model.train_on_batch(X, Y)


def test_labels_are_asked_for_by_name():
    model = compiled("inverse")
    with pytest.raises(ValueError, match="`y` must have an entry for each of"):
        model.train_on_batch(X, {"near": Y["near"]})


@pytest.mark.parametrize(
    "config",
    [
        {"module": "keras.config", "class_name": "set_floatx", "config": {}},
        {"module": "keras.layers", "class_name": "Dense", "config": {"units": 1}},
        "model.keras",
    ],
)
def test_a_config_with_anything_but_a_model_is_refused(config):
    with pytest.raises(ValueError, match="A model in a saved config must be one"):
        duo.MultiTask.from_config({"model": config, "objectives": None})

"""MetaLearner and MetaModel: the derivatives, the projection, whole runs, and what ends them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

import keras_duo as duo
from keras_duo.models import _meta_step
from tests.backend import BACKEND, numpy

pytestmark = pytest.mark.skipif(BACKEND != "tensorflow", reason="losses are learned on TensorFlow")

RANDOM = np.random.default_rng(0)
CLASSES = 3
X = RANDOM.normal(size=(192, 4)).astype("float32")
IDS = (X @ RANDOM.normal(size=(4, CLASSES))).argmax(-1)
WRONG = np.where(RANDOM.random(192) < 0.3, RANDOM.integers(0, CLASSES, 192), IDS)
Y = np.eye(CLASSES, dtype="float32")[WRONG]
TRAIN, HELD_OUT = (X[:128], Y[:128]), (X[128:], Y[128:])
QUICK = {"steps": 10, "warmup": 2, "batch_size": 32, "validation_batch_size": 32, "verbose": 0}


def make_model(dtype="float32", regularizer=None, units=CLASSES, activation="softmax"):
    return keras.Sequential(
        [
            keras.Input((4,), dtype=dtype),
            keras.layers.Dense(5, "tanh", dtype=dtype, kernel_regularizer=regularizer),
            keras.layers.Dense(units, activation, dtype=dtype),
        ]
    )


def make_regressor():
    return make_model(units=1, activation=None)


def wide(*parts):
    return tuple(tf.constant(part, "float64") for part in parts)


def step_sizes(model):
    random = np.random.default_rng(3)
    return [tf.constant(random.uniform(0.5, 1.5, v.shape)) for v in model.trainable_variables]


COEFFICIENTS = {
    "mixture": np.array([0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]),
    "taylor": np.array([0.5, -0.1, 0.7]),
    "network": np.random.default_rng(5).normal(size=33),
}


def differences(function, phi, step=1e-6):
    """The gradient of a function of phi by central differences."""
    found = []
    for i in range(len(phi)):
        shift = step * np.eye(len(phi))[i]
        found.append((function(phi + shift) - function(phi - shift)) / (2 * step))
    return np.array(found)


@pytest.mark.parametrize("form", COEFFICIENTS)
@pytest.mark.parametrize("unroll", [1, 3])
def test_the_lookahead_gradient_is_that_of_finite_differences(form, unroll):
    keras.utils.set_random_seed(1)
    model, phi = make_model("float64", regularizer="l2"), COEFFICIENTS[form]
    learner = duo.MetaLearner(form)
    batches = [wide(X[i::9], Y[i::9]) for i in range(unroll)]
    held_out = wide(*(part[:40] for part in HELD_OUT))
    sizes = step_sizes(model)

    @tf.function(autograph=False)
    def value_and_gradient(phi, first_order=False):
        return _meta_step.lookahead_gradient(
            model,
            learner.values,
            learner.validation_values,
            phi,
            sizes,
            batches,
            held_out,
            first_order,
        )

    phi = tf.constant(phi)
    exact = differences(lambda phi: float(value_and_gradient(phi)[0]), phi)
    assert np.abs(exact).max() > 1e-3
    np.testing.assert_allclose(value_and_gradient(phi)[1], exact, rtol=1e-4, atol=1e-8)
    first_order = value_and_gradient(phi, first_order=True)[1].numpy()
    # One step has no earlier step whose place could matter.
    assert np.allclose(first_order, exact, rtol=1e-4, atol=1e-8) == (unroll == 1)


@pytest.mark.parametrize("form", COEFFICIENTS)
def test_the_alignment_gradient_is_that_of_finite_differences(form):
    keras.utils.set_random_seed(1)
    model, phi = make_model("float64"), COEFFICIENTS[form]
    learner = duo.MetaLearner(form)
    batch, held_out = wide(*TRAIN), wide(*HELD_OUT)
    weights = [tf.identity(v.value) for v in model.trainable_variables]
    sizes = step_sizes(model)

    @tf.function(autograph=False)
    def value_and_gradient(phi):
        def loss(y_true, y_pred):
            return learner.values(phi, y_true, y_pred)

        _, slopes, *_ = _meta_step.loss_and_gradient(model, loss, *batch, weights)
        return _meta_step.alignment_gradient(
            model,
            learner.values,
            learner.validation_values,
            phi,
            sizes,
            slopes,
            batch,
            held_out,
        )

    phi = tf.constant(phi)
    cosine, slope = value_and_gradient(phi)
    assert -1 <= float(cosine) <= 1
    exact = differences(lambda phi: float(value_and_gradient(phi)[0]), phi)
    np.testing.assert_allclose(-slope, exact, rtol=1e-4, atol=1e-8)


def test_the_step_sizes_are_those_of_the_optimizer():
    for optimizer in (
        keras.optimizers.SGD(0.1),
        keras.optimizers.Adam(0.01, beta_1=0.0),
        keras.optimizers.AdamW(0.01, beta_1=0.0, weight_decay=0.0),
        keras.optimizers.RMSprop(0.01),
    ):
        variable = keras.Variable([0.0, 0.0, 0.0])  # a small step from 3 would be rounded
        slope = tf.constant([0.5, -1.0, 1e-3])
        for _ in range(3):
            before = numpy(variable)
            optimizer.apply([slope], [variable])
        (sizes,) = _meta_step.step_sizes(optimizer, [slope])
        np.testing.assert_allclose(before - numpy(variable), sizes * slope, rtol=1e-3)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=1, max_size=7))
def test_the_projection_is_the_nearest_point_of_the_simplex(point):
    point = np.array(point)
    found = numpy(_meta_step.nearest_on_simplex(tf.constant(point)))
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(), 1.0, rtol=1e-12)
    solved = minimize(
        lambda w: ((w - point) ** 2).sum(),
        np.full(len(point), 1 / len(point)),
        jac=lambda w: 2 * (w - point),
        bounds=[(0, 1)] * len(point),
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones_like(w)},
        method="SLSQP",
        options={"ftol": 1e-14},
    )
    np.testing.assert_allclose(found, solved.x, atol=1e-5)


@pytest.mark.parametrize("form", COEFFICIENTS)
def test_before_learning_it_is_the_cross_entropy_or_the_squared_error(form):
    p = RANDOM.dirichlet(np.ones(CLASSES), 192).astype("float32")
    expected = keras.losses.categorical_crossentropy(Y, p)
    np.testing.assert_allclose(duo.MetaLearner(form)(Y, p), expected, rtol=1e-5)
    logits = RANDOM.normal(size=Y.shape).astype("float32")
    expected = keras.losses.categorical_crossentropy(Y, logits, from_logits=True)
    found = duo.MetaLearner(form, from_logits=True)(Y, logits)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    for scale in (1.0, 3.0):
        found = duo.MetaLearner(form, task="regression", scale=scale)(X, X[::-1])
        np.testing.assert_allclose(found, ((X - X[::-1]) ** 2).mean(-1), rtol=1e-5)


@pytest.mark.parametrize(
    ("form", "method"),
    [("mixture", "lookahead"), ("taylor", "alignment"), ("network", "alignment")],
)
def test_learning_moves_the_coefficients_and_gives_a_loss_to_train_by(form, method):
    # The lookahead leaves no vertex from which every other loss would take smaller steps.
    given = COEFFICIENTS[form] if method == "lookahead" else None
    learner = duo.MetaLearner(form, given, method=method, interval=1)
    start = learner.coefficients
    history = learner.learn(
        make_model, TRAIN, HELD_OUT, **QUICK, unroll=2 if method == "lookahead" else 1
    )
    assert learner.coefficients != start
    assert np.isfinite(history[0][method])
    loss = learner.to_loss()
    assert loss.coefficients == pytest.approx(learner.coefficients, abs=1e-3)
    p = RANDOM.dirichlet(np.ones(CLASSES), 192).astype("float32")
    unreduced = learner.to_loss(reduction="none")
    np.testing.assert_allclose(unreduced(Y, p), learner(Y, p), rtol=1e-2, atol=1e-3)
    model = make_model()
    model.compile("adam", loss=loss)
    model.fit(*TRAIN, verbose=0)


def test_a_regression_learns_too():
    target = X.sum(-1)
    target[::10] += 20.0
    learner = duo.MetaLearner(task="regression", interval=1)
    learner.learn(make_regressor, (X[:128], target[:128]), (X[128:], target[128:]), **QUICK)
    assert learner.coefficients[0] < 1.0
    assert learner.to_loss().task == "regression"


def resumable(checkpoint=None, make=make_model, **arguments):
    learner = duo.MetaLearner(interval=1)
    options = {**QUICK, "checkpoint": checkpoint, **arguments}
    history = learner.learn(make, TRAIN, HELD_OUT, "rmsprop", **options)
    return learner.coefficients, history


@pytest.fixture(scope="module")
def whole():
    """A run that was not stopped."""
    return resumable()


@pytest.mark.slow
def test_a_run_that_stopped_between_models_goes_on(whole, tmp_path):
    made = iter([make_model])

    def make_one():
        try:
            return next(made)()
        except StopIteration:
            raise KeyboardInterrupt from None

    path = tmp_path / "run.npz"
    with pytest.raises(KeyboardInterrupt):
        resumable(path, make_one)
    made = iter([make_model] * 3)  # the first model is not made again
    assert resumable(path, make_one) == whole
    with pytest.raises(ValueError, match=r"`checkpoint` must be of a run.*Received"):
        resumable(path, seed=4)


@pytest.mark.slow
def test_a_run_that_stopped_within_a_model_goes_on(whole, tmp_path, monkeypatch):
    plain, calls = duo.MetaModel.train_on_batch, iter(range(3))

    def interrupted(*arguments, **options):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return plain(*arguments, **options)

    path = tmp_path / "run.npz"
    monkeypatch.setattr(duo.MetaModel, "train_on_batch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        resumable(path)
    monkeypatch.undo()
    assert resumable(path) == whole


def test_the_best_restart_is_kept():
    learner = duo.MetaLearner(interval=1)
    history = learner.learn(make_model, TRAIN, HELD_OUT, **{**QUICK, "steps": 4, "restarts": 2})
    ends = [record for record in history if "validation_loss" in record]
    best = min(ends, key=lambda record: record["validation_loss"])
    assert [record["part"] for record in ends[:3]] == ["judge", "judge", "validation"]
    assert learner.coefficients == pytest.approx(best["coefficients"], abs=1e-6)


@pytest.mark.misfit  # a softmax that is certain from the start
@pytest.mark.parametrize("finds_all", [True, False])
def test_a_mixture_near_the_validation_loss_is_judged_only_where_that_misses_a_class(finds_all):
    def make():
        model = make_model()
        kernel = 30.0 * np.random.default_rng(0).normal(size=(5, CLASSES))
        if not finds_all:
            kernel[:, -1] = 0.0
        bias = np.array([0.0, 0.0, 0.0 if finds_all else -1000.0])
        model.layers[-1].set_weights([kernel, bias])
        return model

    history = duo.MetaLearner(interval=1).learn(make, TRAIN, HELD_OUT, **{**QUICK, "steps": 4})
    ends = [record for record in history if "missed" in record]
    assert [record["missed"] for record in ends][:2] == [0 if finds_all else 1] * 2
    parts = ["judge", "validation"] if finds_all else ["judge", "validation", "validation"]
    assert [record["part"] for record in ends] == parts


def test_what_is_kept_is_the_median_over_the_steps():
    learner = duo.MetaLearner("taylor", interval=1, learning_rate=1.0)
    # A record of every step, of which there are seven while phi moves.
    arguments = {**QUICK, "steps": 14, "batch_size": 128}
    history = learner.learn(make_model, TRAIN, HELD_OUT, **arguments)
    path = np.array([record["coefficients"] for record in history])
    assert np.ptp(path[2:7], axis=0).max() > 0
    assert np.ptp(path[7:], axis=0).max() == 0
    np.testing.assert_allclose(path[-1], np.median(path[2:7], axis=0), atol=1e-6)
    np.testing.assert_allclose(path[-1], learner.coefficients, atol=1e-6)


def test_coefficients_on_their_bounds_are_coefficients_of_a_loss():
    learner = duo.MetaLearner("taylor").at(np.array([-1 / 3, -1 / 6, -1 / 9], "float32"))
    assert learner.to_loss().coefficients == pytest.approx((-1 / 3, -1 / 6, -1 / 9), abs=1e-4)


def one_class(y):
    return np.eye(CLASSES, dtype="float32")[np.zeros(len(y), int)]


@pytest.mark.parametrize(
    ("arguments", "train", "held_out", "message"),
    [
        ({}, (X[:128], one_class(X[:128])), HELD_OUT, "`train_data`.*at least 2 classes"),
        ({}, TRAIN, (X[128:], one_class(X[128:])), "`validation_data`.*at least 2 classes"),
        ({}, (X[:128], np.ones((128, 1))), HELD_OUT, "`train_data`.*at least 2 classes"),
        ({}, (X[:128], WRONG[:128]), HELD_OUT, "`train_data`.*one-hot"),
        ({"task": "regression"}, (X, np.ones(192)), HELD_OUT, "`train_data`.*labels that differ"),
        ({}, TRAIN, TRAIN, "`validation_data` must hold other examples"),
        ({}, (np.full_like(X, np.nan), Y), HELD_OUT, "`train_data` must be finite"),
        ({}, TRAIN, (X[128:], Y[128:] + np.inf), "`validation_data` must be finite"),
        ({}, (X[:128], Y[:100]), HELD_OUT, "`train_data` must hold as many labels"),
        ({}, X, HELD_OUT, "`train_data` must be a tuple"),
    ],
)
def test_data_that_teach_nothing_end_in_a_clear_error(arguments, train, held_out, message):
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match=f"{message}.*Received"):
        duo.MetaLearner(**arguments).learn(make_model, train, held_out, **QUICK)


@pytest.mark.misfit
def test_a_step_that_is_not_finite_ends_in_a_clear_error():
    meta = duo.MetaModel(make_model(), duo.MetaLearner(), HELD_OUT)
    meta.compile("sgd")
    with pytest.raises(tf.errors.InvalidArgumentError, match="not a finite number"):
        meta.fit(np.full_like(TRAIN[0], np.nan), TRAIN[1], verbose=0)


def test_validation_on_nearly_the_training_examples_gives_a_sane_loss():
    learner = duo.MetaLearner(interval=1)
    learner.learn(make_model, TRAIN, (TRAIN[0][1:], TRAIN[1][1:]), **QUICK)
    p = np.array([[0.1, 0.45, 0.45], [0.5, 0.25, 0.25], [0.9, 0.05, 0.05]])
    values = numpy(learner(np.eye(CLASSES)[[0, 0, 0]], p))
    assert values[0] > values[1] > values[2] >= 0


@pytest.mark.parametrize("form", ["mixture", "taylor"])
def test_the_loss_settles_and_the_model_trains_on(form):
    keras.utils.set_random_seed(0)
    learner = duo.MetaLearner(form, interval=1, learning_rate=1.0, settle=6)
    meta = duo.MetaModel(make_model(), learner, HELD_OUT, warmup=2, batch_size=16)
    meta.compile("adam")
    path = []
    for _ in range(12):
        before = numpy(meta.model.trainable_variables[0].value)
        meta.train_on_batch(*TRAIN)
        assert (numpy(meta.model.trainable_variables[0].value) != before).any()
        path.append(numpy(meta.coefficients))
    assert (path[6] != path[5]).any()
    for settled in path[7:]:  # after two steps of warm-up, and six
        np.testing.assert_array_equal(settled, path[7])
    if form == "mixture":
        assert all(share == 0 or share >= 0.02 for share in path[7])
        np.testing.assert_allclose(path[7].sum(), 1.0, rtol=1e-5)


def test_the_online_form_trains_saves_and_goes_on(tmp_path):
    keras.utils.set_random_seed(0)
    validation = keras.losses.MeanAbsoluteError()
    learner = duo.MetaLearner(interval=1, learning_rate=0.3, validation_loss=validation)
    meta = duo.MetaModel(make_model(), learner, HELD_OUT, warmup=2, batch_size=16)
    meta.compile("adam", metrics=["accuracy"])
    history = meta.fit(*TRAIN, epochs=5, validation_data=HELD_OUT, verbose=0, shuffle=False).history
    assert history["loss"][-1] < history["loss"][0]
    assert -1 <= history["alignment"][-1] <= 1
    assert set(history) == {"loss", "alignment", "accuracy", "val_loss", "val_accuracy"}
    np.testing.assert_allclose(numpy(meta.coefficients).sum(), 1.0, rtol=1e-5)
    assert numpy(meta.coefficients)[0] < 1.0
    current = numpy(meta.coefficients)
    assert meta.to_loss(digits=6).coefficients == pytest.approx(current, abs=1e-5)

    meta.save(tmp_path / "meta.keras")
    again = keras.saving.load_model(tmp_path / "meta.keras")
    np.testing.assert_array_equal(again.predict(X, verbose=0), meta.predict(X, verbose=0))
    assert again.to_loss().coefficients == meta.to_loss().coefficients
    with pytest.raises(ValueError, match=r"`held_out` must be set.*Received"):
        again.fit(*TRAIN, verbose=0)
    again.held_out = HELD_OUT
    for model in (meta, again):
        model.fit(*TRAIN, epochs=2, verbose=0, shuffle=False)
    assert again.to_loss(digits=6).coefficients == meta.to_loss(digits=6).coefficients
    np.testing.assert_array_equal(again.predict(X, verbose=0), meta.predict(X, verbose=0))


def test_the_model_trains_as_keras_would_while_the_loss_stands_still():
    def trained(meta):
        keras.utils.set_random_seed(0)
        model = make_model(regularizer="l2")
        whole = duo.MetaModel(model, duo.MetaLearner(), HELD_OUT, warmup=1000) if meta else model
        loss = {} if meta else {"loss": "categorical_crossentropy"}
        whole.compile("adam", **loss)
        logs = whole.fit(*TRAIN, epochs=2, verbose=0, shuffle=False).history["loss"]
        return model.predict(X, verbose=0), logs

    (ours, our_logs), (plain, logs) = trained(meta=True), trained(meta=False)
    np.testing.assert_allclose(ours, plain, rtol=1e-4)
    np.testing.assert_allclose(our_logs, logs, rtol=1e-4)


@pytest.mark.parametrize(
    "arguments",
    [
        {"form": "spline"},
        {"coefficients": [1.0]},
        {"task": "ranking"},
        {"from_logits": 1},
        {"scale": 0.0},
        {"axis": 1.5},
        {"validation_loss": "mae"},
        {"method": "evolution"},
        {"learning_rate": 0.0},
        {"interval": 0},
        {"settle": 0},
        {"first_order": "yes"},
    ],
)
def test_bad_arguments_are_refused_by_name(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=f"`{name}` must.*Received"):
        duo.MetaLearner(**arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"model": 1},
        {"learner": duo.LearnedLoss()},
        {"held_out": X},
        {"warmup": -1},
        {"unroll": 2},  # of an alignment
        {"batch_size": 0},
        {"seed": 0.5},
    ],
)
def test_bad_arguments_of_the_model_are_refused_by_name(arguments):
    (name,) = arguments
    given = {"model": make_model(), "learner": duo.MetaLearner(), **arguments}
    with pytest.raises(ValueError, match=f"`{name}` must.*Received"):
        duo.MetaModel(**given)


def test_what_cannot_be_learned_with_is_refused():
    meta = duo.MetaModel(make_model(), duo.MetaLearner(), HELD_OUT)
    with pytest.raises(NotImplementedError, match=r"`optimizer` must be SGD.*Received"):
        meta.compile("adagrad")
    with pytest.raises(ValueError, match=r"`loss` must not be given.*Received"):
        meta.compile("adam", loss="mse")
    meta.compile("adam")
    with pytest.raises(NotImplementedError, match="`sample_weight` must be None"):
        meta.fit(*TRAIN, sample_weight=np.ones(128), verbose=0)


def test_a_config_cannot_name_what_is_not_registered():
    config = duo.MetaModel(make_model(), duo.MetaLearner(), HELD_OUT).get_config()
    config["model"] = {"module": "os", "class_name": "system", "config": {}}
    with pytest.raises(ValueError, match="A model in a saved config must be"):
        duo.MetaModel.from_config(config)
    learner = duo.MetaLearner(validation_loss=duo.LearnedLoss()).get_config()
    learner["validation_loss"]["module"] = "os"
    learner["validation_loss"]["registered_name"] = None
    with pytest.raises(ValueError, match="losses of Keras"):
        duo.MetaLearner.from_config(learner)

"""GAN: the step against a loop written out, and what Keras promises of a model."""

import json
import os
import shutil
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import keras_duo as duo
from keras_duo.models import _gan_step
from tests.losses.test_adversarial import FAKE, REAL

X = np.random.default_rng(0).normal(2.0, 1.0, (70, 2)).astype("float32")
Y = np.random.default_rng(1).integers(0, 3, 70)
TRACKED = {"generator_loss", "discriminator_loss", "real_score", "fake_score", "penalty"}


def generator(**kwargs):
    hidden = layers.Dense(8, "gelu", **kwargs)
    return keras.Sequential([keras.Input((4,)), hidden, layers.Dense(2, **kwargs)])


def discriminator(*before_last, activation=None, **kwargs):
    hidden, last = layers.Dense(8, "gelu", **kwargs), layers.Dense(1, activation, **kwargs)
    return keras.Sequential([keras.Input((2,)), hidden, *before_last, last])


def game(critic=None, maker=None, **compiled):
    keras.utils.set_random_seed(0)
    gan = duo.GAN(maker or generator(), critic or discriminator(), latent_dim=4, seed=3)
    rows = np.random.default_rng(0)  # the same weights for the same shapes, made when they may be
    for weight in gan.trainable_weights:
        weight.assign(rows.normal(0.0, 0.5, weight.shape))
    # Eager unless a test says otherwise: a graph takes seconds to trace.
    gan.compile(**{"optimizer": keras.optimizers.SGD(0.1), "run_eagerly": True, **compiled})
    return gan


def conditional(**compiled):
    """Both networks embed the label and put it beside their input."""

    def network(size, outputs):
        x, label = keras.Input((size,)), keras.Input((), dtype="int32")
        both = layers.Concatenate()([x, layers.Embedding(3, 2)(label)])
        return keras.Model([x, label], layers.Dense(outputs)(layers.Dense(8, "relu")(both)))

    keras.utils.set_random_seed(0)
    gan = duo.GAN(network(4, 2), network(2, 1), latent_dim=4, seed=3)
    gan.compile(**{"optimizer": keras.optimizers.SGD(0.1), "run_eagerly": True, **compiled})
    return gan


def fit(gan, x=X, **kwargs):
    return gan.fit(x, **{"batch_size": 32, "shuffle": False, "verbose": 0, **kwargs}).history


@pytest.fixture
def _float64():
    keras.config.set_floatx("float64")  # inputs have it by default
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")


def assert_same_weights(first, second, **tolerance):
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, **{"rtol": 0, "atol": 0, **tolerance})


BCE = keras.losses.BinaryCrossentropy
GAMES = {
    "lsgan": (duo.LSGAN(), lambda r, f: ((r - 1) ** 2 / 2, f**2 / 2, (f - 1) ** 2 / 2)),
    "wasserstein": (duo.Wasserstein(), lambda r, f: (-r, f, -f)),
    "hinge": (duo.HingeGAN(), lambda r, f: (tf.nn.relu(1 - r), tf.nn.relu(1 + f), -f)),
    "non-saturating": (
        duo.NonSaturating(),
        lambda r, f: (tf.nn.softplus(-r), tf.nn.softplus(f), tf.nn.softplus(-f)),
    ),
    "classical": (
        BCE(from_logits=True),
        lambda r, f: (tf.nn.softplus(-r), tf.nn.softplus(f), tf.nn.softplus(-f)),
    ),
    "by name": ("mse", lambda r, f: ((r - 1) ** 2, f**2, (f - 1) ** 2)),
}


class TestTheStep:
    @pytest.mark.parametrize("name", GAMES)
    def test_it_is_that_of_a_loop_written_out(self, name):
        """Two tapes, each with its own pass through both networks, and then both updates."""
        loss, values = GAMES[name]
        gan, plain = game(loss=loss), game()
        seeds = keras.random.SeedGenerator(3)
        for batch in (X[:32], X[32:]):
            latent = keras.random.normal((len(batch), 4), seed=seeds)
            with tf.GradientTape() as discriminator_tape:
                fake = plain.discriminator(plain.generator(latent))
                real_value, fake_value, _ = values(plain.discriminator(batch), fake)
                d_loss = tf.reduce_mean(real_value) + tf.reduce_mean(fake_value)
            with tf.GradientTape() as generator_tape:
                fake = plain.discriminator(plain.generator(latent))
                g_loss = tf.reduce_mean(values(fake, fake)[2])
            steps = [
                (network.trainable_variables, tape.gradient(loss, network.trainable_variables))
                for network, tape, loss in (
                    (plain.discriminator, discriminator_tape, d_loss),
                    (plain.generator, generator_tape, g_loss),
                )
            ]
            for variables, gradients in steps:
                for variable, gradient in zip(variables, gradients, strict=True):
                    variable.assign_sub(0.1 * gradient)
            logs = gan.train_on_batch(batch, return_dict=True)
            gan.reset_metrics()
            assert float(logs["discriminator_loss"]) == pytest.approx(float(d_loss), rel=1e-5)
            assert float(logs["generator_loss"]) == pytest.approx(float(g_loss), rel=1e-5)
        for network in ("generator", "discriminator"):
            assert_same_weights(getattr(gan, network), getattr(plain, network), atol=1e-6)

    @pytest.mark.parametrize(
        ("loss", "discriminator_loss", "generator_loss"),
        [
            (duo.LSGAN(), 41.73375, 17.69625),
            (duo.Wasserstein(), 0.225, -3.125),
            (duo.HingeGAN(), 6.75, None),
        ],
    )
    def test_published_values(self, loss, discriminator_loss, generator_loss):
        """A generator that passes the latent vector on, and a discriminator that passes all on."""
        same = [keras.Sequential([keras.Input((1,)), layers.Dense(1)]) for _ in range(2)]
        for network in same:
            network.set_weights([np.ones((1, 1)), np.zeros(1)])
        gan = duo.GAN(*same, latent_dim=1)
        gan.compile(loss=loss)
        seen = _gan_step.look(
            gan, ops.cast(REAL, "float32"), ops.cast(FAKE, "float32"), None, gan.seeds, False
        )
        assert float(seen.discriminator_loss) == pytest.approx(discriminator_loss, rel=1e-6)
        if generator_loss is not None:
            assert float(seen.generator_loss) == pytest.approx(generator_loss, rel=1e-6)

    def test_discriminator_steps(self):
        """The discriminator moves that often, the generator once, and the means know it."""
        gan = game(discriminator_steps=3)
        history = fit(gan, epochs=1)
        assert int(gan.discriminator_optimizer.iterations) == 9
        assert int(gan.generator_optimizer.iterations) == int(gan.steps) == 3
        assert int(gan.trackers["discriminator_loss"].count) == 3 * 70
        assert int(gan.trackers["generator_loss"].count) == 70
        assert set(history) == TRACKED

    def test_the_history_is_the_mean_over_all_examples(self):
        gan = game(optimizer=keras.optimizers.SGD(0.0))
        history = fit(gan, epochs=2)
        expected = ops.convert_to_numpy(gan.discriminator(X)).mean()
        assert history["real_score"] == pytest.approx([expected] * 2, rel=1e-5)
        assert history["penalty"] == [0.0, 0.0]
        squares = ((ops.convert_to_numpy(gan.discriminator(X)) - 1) ** 2 / 2).mean()
        assert history["discriminator_loss"][0] > squares
        # Other noise in the second epoch.
        assert history["fake_score"][0] != history["fake_score"][1]

    def test_regularisation_counts_once(self):
        plain = fit(game(optimizer=keras.optimizers.SGD(0.0)), epochs=1)
        gan = game(
            discriminator(kernel_regularizer=keras.regularizers.L2(0.1)),
            generator(kernel_regularizer=keras.regularizers.L2(0.2)),
            optimizer=keras.optimizers.SGD(0.0),
        )
        history = fit(gan, epochs=1)
        for name, factor in (("discriminator", 0.1), ("generator", 0.2)):
            kernels = [w for w in getattr(gan, name).get_weights() if w.ndim == 2]
            added = factor * sum((kernel**2).sum() for kernel in kernels)
            assert history[f"{name}_loss"][0] == pytest.approx(
                plain[f"{name}_loss"][0] + added, rel=1e-5
            )

    def test_activity_regularisation_counts_for_real_and_fake(self):
        gan = game(discriminator(layers.ActivityRegularization(l2=1.0)))
        plain = game(run_eagerly=True)
        with_activity, without = (g.test_on_batch(X, return_dict=True) for g in (gan, plain))
        latent = keras.random.normal((70, 4), seed=keras.random.SeedGenerator(0))
        hidden = plain.discriminator.layers[0]
        activity = sum(
            (ops.convert_to_numpy(hidden(x)) ** 2).sum() / 70 for x in (X, plain.generator(latent))
        )
        added = with_activity["discriminator_loss"] - without["discriminator_loss"]
        assert float(added) == pytest.approx(activity, rel=1e-4)

    def test_batch_normalization_sees_one_kind_at_a_time(self):
        gan = game(discriminator(layers.BatchNormalization()))
        hidden, norm = gan.discriminator.layers[:2]
        real = ops.convert_to_numpy(hidden(X)).mean(axis=0)
        latent = keras.random.normal((70, 4), seed=keras.random.SeedGenerator(3))
        fake = ops.convert_to_numpy(hidden(gan.generator(latent))).mean(axis=0)
        gan.train_on_batch(X)
        expected = 0.99 * 0.01 * real + 0.01 * fake
        np.testing.assert_allclose(norm.moving_mean.numpy(), expected, rtol=1e-4)

    @pytest.mark.usefixtures("_float64")
    @pytest.mark.parametrize("penalty", ["gradient_penalty", "r1_penalty"])
    def test_the_double_backward_pass_is_that_of_central_differences(self, penalty):
        gan = game(loss=duo.Wasserstein(), **{penalty: 10.0})
        rows = np.random.default_rng(2)
        real, fake = (ops.convert_to_tensor(rows.normal(size=(6, 2))) for _ in range(2))

        def paid():
            gan.seeds.state.assign([3, 0])
            return _gan_step.look(gan, real, fake, None, gan.seeds, True).discriminator_loss

        variables = gan.discriminator.trainable_variables
        with tf.GradientTape() as tape:
            loss = paid()
        gradients = tape.gradient(loss, variables, unconnected_gradients="zero")
        assert loss.dtype == "float64"
        for variable, gradient in zip(variables, gradients, strict=True):
            value, step = variable.numpy().copy(), 1e-6
            for place in np.ndindex(value.shape):
                ends = []
                for sign in (1, -1):
                    moved = value.copy()
                    moved[place] += sign * step
                    variable.assign(moved)
                    ends.append(float(paid()))
                variable.assign(value)
                slope = (ends[0] - ends[1]) / (2 * step)
                assert gradient.numpy()[place] == pytest.approx(slope, rel=1e-4, abs=1e-7)

    def test_the_average_of_the_generator(self):
        gan, decay = game(ema=0.5), 0.5
        average = [w.numpy().copy() for w in gan.generator.weights]
        for step in range(1, 13):
            gan.train_on_batch(X)
            share = 1 - min(decay, step / (step + 9))
            average = [
                a + share * (w.numpy() - a)
                for a, w in zip(average, gan.generator.weights, strict=True)
            ]
        for mean, variable in zip(average, gan.average.variables, strict=True):
            np.testing.assert_allclose(variable.numpy(), mean, rtol=1e-4, atol=1e-6)
        latent = keras.random.normal((5, 4), seed=1)
        copy = gan.averaged_generator()
        np.testing.assert_allclose(gan.generate(5, seed=1), copy.predict(latent, verbose=0), 1e-5)
        assert np.abs(gan.generate(5, seed=1) - gan.generator(latent)).max() > 1e-4


class TestKeras:
    """What holds for a model of Keras holds for this one."""

    def test_eager_graph_and_several_steps_in_one_call_are_the_same(self):
        options = [{}, {"run_eagerly": False}, {"run_eagerly": False, "steps_per_execution": 2}]
        critics = [discriminator(layers.Dropout(0.5, seed=1)) for _ in options]
        gans = [
            game(critic, ema=0.9, **each) for critic, each in zip(critics, options, strict=True)
        ]
        histories = [fit(gan, epochs=2) for gan in gans]
        for gan, history in zip(gans[1:], histories[1:], strict=True):
            assert_same_weights(gans[0], gan, atol=1e-6)
            for key, values in history.items():
                assert values == pytest.approx(histories[0][key], rel=1e-4, abs=1e-6)

    def test_xla(self):
        """It draws other numbers, so what is compared is what depends on the real examples."""
        plain = game(r1_penalty=1.0)
        compiled = game(r1_penalty=1.0, run_eagerly=False, jit_compile=True)
        logs, expected = (gan.train_on_batch(X[:32], return_dict=True) for gan in (compiled, plain))
        for key in ("real_score", "penalty"):
            assert float(logs[key]) == pytest.approx(float(expected[key]), rel=1e-5)
        assert all(np.isfinite(value) for value in logs.values())
        assert int(compiled.generator_optimizer.iterations) == 1

    def test_the_same_seed_is_the_same_run(self):
        first, second = game(loss=duo.HingeGAN()), game(loss=duo.HingeGAN())
        assert fit(first, epochs=2) == fit(second, epochs=2)
        assert_same_weights(first, second)
        assert (first.generate(5, seed=1) == second.generate(5, seed=1)).all()
        assert (first.generate(5) != first.generate(5)).any()

    def test_an_evaluation_can_be_repeated_and_is_no_part_of_the_training(self):
        watched, plain = game(metrics=["accuracy"]), game()
        history = fit(watched, epochs=2, validation_data=(X,))
        fit(plain, epochs=2)
        assert {f"val_{name}" for name in TRACKED} < set(history)
        for one, other in zip(watched.variables, plain.variables, strict=True):
            if one is not watched.evaluation_seeds.state:
                np.testing.assert_array_equal(one.numpy(), other.numpy())
        once, again = (watched.evaluate(X, verbose=0, return_dict=True) for _ in range(2))
        assert once == again

    def test_metrics_are_of_the_scores(self):
        gan = game(optimizer=keras.optimizers.SGD(0.0), metrics=[keras.metrics.AUC(name="auc")])
        history = fit(gan, epochs=1)
        assert 0 <= history["auc"][0] <= 1
        assert set(history) == {*TRACKED, "auc"}

    def test_one_optimizer_serves_both_in_two_copies(self):
        adam = keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5))
        gan = game(optimizer=adam)
        pair = gan.generator_optimizer, gan.discriminator_optimizer
        assert len({id(optimizer) for optimizer in (*pair, adam)}) == 3
        assert not adam.built
        for optimizer in pair:
            assert optimizer.get_config()["learning_rate"] == adam.get_config()["learning_rate"]
        fit(gan)
        assert [int(optimizer.iterations) for optimizer in pair] == [3, 3]

    def test_half_precision_scales_both_losses(self, tmp_path):
        keras.config.set_dtype_policy("mixed_float16")
        gan = game(gradient_penalty=1.0, ema=0.9)
        before = gan.get_weights()
        history = fit(gan, epochs=2)
        for optimizer in (gan.generator_optimizer, gan.discriminator_optimizer):
            assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
            assert int(optimizer.inner_optimizer.iterations) > 0
        assert all(np.isfinite(values).all() for values in history.values())
        assert any((a != b).any() for a, b in zip(before, gan.get_weights(), strict=True))
        # In half precision the same as in float32, nearly.
        keras.config.set_dtype_policy("float32")
        wide = game(gradient_penalty=1.0, ema=0.9)
        expected = fit(wide, epochs=2)
        for key, values in expected.items():
            assert history[key][0] == pytest.approx(values[0], rel=0.1, abs=0.05), key

    @pytest.mark.misfit  # for a call without labels
    def test_conditional(self, tmp_path):
        gan = conditional(gradient_penalty=1.0, ema=0.9)
        history = fit(gan, x=X, y=Y, validation_data=(X, Y))
        assert np.isfinite(history["val_generator_loss"]).all()
        assert gan.generate(4, labels=2).shape == (4, 2)
        same = gan.generate(3, labels=[0, 1, 2], seed=1)
        assert (gan.generate(3, labels=[0, 1, 1], seed=1)[2] != same[2]).any()
        gan.save(tmp_path / "gan.keras")
        again = keras.saving.load_model(tmp_path / "gan.keras")
        np.testing.assert_array_equal(again.generate(3, labels=[0, 1, 2], seed=1), same)
        with pytest.raises(ValueError, match="`y` must be given"):
            gan.fit(X, verbose=0)
        with pytest.raises(ValueError, match="`labels` must be given"):
            gan.generate(3)
        with pytest.raises(ValueError, match="`labels` must hold one label for each"):
            gan.generate(3, labels=[0, 1])


LOAD = """
import json, sys
import keras, numpy as np
import keras_duo

gan = keras.saving.load_model("gan.keras")
data = np.load("data.npz")
same = gan.generate(5, seed=1)
losses = gan.fit(data["x"], batch_size=32, shuffle=False, epochs=1, verbose=0).history
samples = keras.saving.load_model("gan.keras", compile=False).generate(5, seed=1)
np.savez("found.npz", *gan.get_weights(), generated=same, uncompiled=samples)
json.dump(losses, open("losses.json", "w"))
"""


class TestFiles:
    @pytest.mark.slow
    def test_a_loaded_game_goes_on_in_a_new_process(self, tmp_path):
        gan = game(
            discriminator(layers.Dropout(0.5)),
            optimizer="adam",
            loss=duo.LSGAN(-1.0, 1.0, 0.0),
            gradient_penalty=2.0,
            ema=0.9,
            metrics=[keras.metrics.BinaryAccuracy(threshold=0.0)],
            run_eagerly=False,
        )
        fit(gan, epochs=2)
        gan.save(tmp_path / "gan.keras")
        np.savez(tmp_path / "data.npz", x=X)
        result = run(LOAD, tmp_path)
        assert result.returncode == 0, result.stderr[-3000:]
        found = np.load(tmp_path / "found.npz")
        np.testing.assert_array_equal(found["generated"], gan.generate(5, seed=1))
        np.testing.assert_array_equal(found["uncompiled"], gan.generate(5, seed=1))
        losses = fit(gan, epochs=1)
        assert json.loads((tmp_path / "losses.json").read_text()) == losses
        for index, weight in enumerate(gan.get_weights()):
            np.testing.assert_array_equal(found[f"arr_{index}"], weight)

    @pytest.mark.slow
    def test_a_run_resumes_at_every_epoch_as_if_it_had_not_stopped(self, tmp_path):
        class Copied(keras.callbacks.Callback):
            """The backup as it is after each epoch."""

            def on_epoch_end(self, epoch, logs=None):
                shutil.copytree(tmp_path / "backup", tmp_path / str(epoch))

        def made():
            return game(
                discriminator(layers.Dropout(0.5)),
                optimizer="adam",
                discriminator_steps=2,
                ema=0.9,
                run_eagerly=False,
            )

        whole = made()
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        fit(whole, epochs=4, callbacks=[backup, Copied()])
        for epoch in range(3):
            keras.utils.set_random_seed(99)
            again = made()
            callback = keras.callbacks.BackupAndRestore(tmp_path / str(epoch))
            history = fit(again, epochs=4, callbacks=[callback])
            assert len(history["penalty"]) == 3 - epoch
            state = [*again.variables, *again.generator_optimizer.variables]
            state += [*again.discriminator_optimizer.variables, *again.average.variables]
            expected = [*whole.variables, *whole.generator_optimizer.variables]
            expected += [*whole.discriminator_optimizer.variables, *whole.average.variables]
            for one, other in zip(state, expected, strict=True):
                np.testing.assert_array_equal(one.numpy(), other.numpy())

    def test_every_argument_comes_back(self):
        given = {
            "loss": keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.1),
            "generator_optimizer": keras.optimizers.RMSprop(0.01),
            "discriminator_optimizer": keras.optimizers.Adam(0.02, beta_1=0.3),
            "r1_penalty": 3.0,
            "discriminator_steps": 2,
            "ema": 0.7,
            "metrics": ["accuracy", keras.metrics.AUC(name="given")],
            "steps_per_execution": 3,
        }
        gan = game(optimizer=None, **given)
        config = gan.get_compile_config()
        again = duo.GAN.from_config(gan.get_config())
        again.compile_from_config(json.loads(json.dumps(config)))
        assert again.get_compile_config() == config
        assert (again.latent_dim, again.seed) == (4, 3)

    @pytest.mark.parametrize(
        "evil",
        [
            {"module": "os", "class_name": "system", "config": {"command": "true"}},
            {"module": "keras.config", "class_name": "set_floatx", "config": "float16"},
            {"class_name": "function", "module": "builtins", "config": "eval"},
            "eval",
        ],
    )
    def test_a_config_cannot_name_anything(self, evil):
        gan = game()
        evil = {**evil, "registered_name": None} if isinstance(evil, dict) else evil
        with pytest.raises(ValueError, match="in a saved config"):
            duo.GAN.from_config({**gan.get_config(), "generator": evil})
        for player in ("generator_optimizer", "discriminator_optimizer"):
            with pytest.raises(ValueError, match="in a saved config"):
                gan.compile_from_config({**gan.get_compile_config(), player: evil})
        if isinstance(evil, dict):
            for name, value in (("loss", evil), ("metrics", [evil])):
                with pytest.raises(ValueError, match="in a saved config"):
                    gan.compile_from_config({**gan.get_compile_config(), name: value})


REPLICAS = """
import json, sys
import tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
import keras, numpy as np
import keras_duo as duo
from tests.models.test_gan import X, discriminator, generator, fit, game

def made(**kwargs):
    return game(gradient_penalty=1.0, ema=0.5, run_eagerly=False, **kwargs)

plain = made()
expected = [fit(plain, X[:64], epochs=2), plain.evaluate(X[:64], verbose=0, return_dict=True)]
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    gan = made(metrics=["accuracy"])
found = [fit(gan, X[:64], epochs=2), gan.evaluate(X[:64], verbose=0, return_dict=True)]
assert gan.distribute_strategy.num_replicas_in_sync == 2
for one, other in zip(plain.get_weights(), gan.get_weights(), strict=True):
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)
for one, other in zip(plain.average.variables, gan.average.variables, strict=True):
    np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=0, atol=1e-6)
for one, other in zip(expected, found):
    for key, values in one.items():
        np.testing.assert_allclose(values, other[key], rtol=1e-5, atol=1e-6, err_msg=key)
# A last batch of one leaves a replica without any.
history = fit(gan, X[:65], epochs=1)
assert all(np.isfinite(values).all() for values in history.values()), history
assert gan.generate(5).shape == (5, 2)
bad = X.copy()
bad[63] = np.nan
try:
    fit(gan, bad)
except FloatingPointError as error:
    assert "real examples are not finite in training step 9" in str(error), error
else:
    raise SystemExit("no error")
"""


@pytest.mark.slow
def test_two_replicas_step_as_one_device(tmp_path):
    result = run(REPLICAS, tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.mark.misfit
class TestNotFinite:
    @pytest.mark.parametrize("options", [{}, {"run_eagerly": False, "steps_per_execution": 3}])
    def test_the_message_names_the_network_and_the_step(self, options):
        """A step of 1e30 takes the discriminator out of the numbers in the one after."""
        gan = game(discriminator_optimizer=keras.optimizers.SGD(1e30), **options)
        with pytest.raises(FloatingPointError, match=r"discriminator .* in training step 2") as e:
            fit(gan)
        assert "those before the update" in str(e.value)
        assert all(np.isfinite(weight).all() for weight in gan.generator.get_weights())
        gan = game(generator_optimizer=keras.optimizers.SGD(float("inf")), **options)
        with pytest.raises(FloatingPointError, match=r"generator .* in training step 2"):
            fit(gan)

    def test_the_data(self):
        bad = X.copy()
        bad[40, 1] = np.inf
        with pytest.raises(FloatingPointError, match=r"real examples are not finite .* step 2"):
            fit(game(), bad)

    def test_a_gradient_that_is_not_finite_beside_a_loss_that_is(self):
        @keras.saving.register_keras_serializable("tests")
        class Root(layers.Layer):
            def call(self, x):
                return ops.sqrt(ops.relu(x - 1e6))

        maker = keras.Sequential([keras.Input((4,)), layers.Dense(2), Root(), layers.Dense(2)])
        gan = game(maker=maker)
        before = [*gan.generator.get_weights(), *gan.discriminator.get_weights()]
        with pytest.raises(FloatingPointError, match=r"generator .* in training step 1"):
            fit(gan)
        after = [*gan.generator.get_weights(), *gan.discriminator.get_weights()]
        for one, other in zip(before, after, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_training_goes_on_after_it(self):
        gan = game()
        with pytest.raises(FloatingPointError):
            fit(gan, np.full_like(X, np.nan))
        assert np.isfinite(fit(gan)["generator_loss"]).all()

    def test_other_errors_pass(self):
        gan = game(run_eagerly=True)
        with pytest.raises(tf.errors.InvalidArgumentError, match="mine"):
            _gan_step.stopping(gan, _fails)(None)


def _fails(data):
    raise tf.errors.InvalidArgumentError(None, None, "mine")


class TestWarnings:
    @pytest.mark.parametrize("loss", [duo.LSGAN(), BCE(from_logits=True)])
    def test_a_sigmoid_before_a_loss_of_scores(self, loss):
        with pytest.warns(UserWarning, match="ends in a sigmoid"):
            game(discriminator(activation="sigmoid"), loss=loss)

    @pytest.mark.parametrize("loss", ["bce", BCE(), duo.Focal()])
    def test_scores_before_a_loss_of_probabilities(self, loss):
        with pytest.warns(UserWarning, match="ends in a linear layer"):
            game(discriminator(), loss=loss)

    @pytest.mark.parametrize("penalty", ["gradient_penalty", "r1_penalty"])
    def test_batch_normalization_under_a_penalty(self, penalty):
        nested = keras.Sequential([layers.Dense(4), layers.BatchNormalization()])
        with pytest.warns(UserWarning, match="has BatchNormalization"):
            game(discriminator(nested), **{penalty: 1.0})

    def test_silence_where_all_fits(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            game(discriminator(activation="sigmoid"), loss=BCE())
            game(discriminator(), loss=BCE(from_logits=True))
            game(discriminator(), loss="mse")
            game(discriminator(layers.BatchNormalization()))
            game(discriminator(layers.LayerNormalization()), gradient_penalty=1.0)

    def test_probabilities_are_kept_in_log_space(self):
        gan = game(discriminator(activation="sigmoid"), loss="binary_crossentropy")
        gan.discriminator.layers[-1].set_weights([np.zeros((8, 1)), np.full(1, -40.0)])
        seen = _gan_step.look(gan, X, X, None, gan.seeds, False)
        assert float(seen.generator_loss) == pytest.approx(40.0, rel=1e-5)


@pytest.mark.misfit
class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "match"),
        [
            ({"gradient_penalty": 0.0}, "`gradient_penalty` must .* Received"),
            ({"gradient_penalty": True}, "`gradient_penalty` must .* Received"),
            ({"r1_penalty": -1.0}, "`r1_penalty` must .* Received"),
            ({"discriminator_steps": 0}, "`discriminator_steps` must .* Received"),
            ({"ema": 1.0}, "`ema` must .* Received"),
            ({"loss": lambda y, p: p}, "`loss` must be an adversarial loss"),
            ({"loss": None, "optimizer": 3}, "`optimizer` must be a Keras optimizer"),
            ({"loss": keras.losses.MeanSquaredError(reduction="sum")}, "`loss` must average"),
            ({"optimizer": keras.optimizers.SGD(use_ema=True)}, "`optimizer` must not have"),
        ],
    )
    def test_compile(self, arguments, match):
        with pytest.raises(ValueError, match=match):
            game(**arguments)

    def test_one_instance_for_both(self):
        adam = keras.optimizers.Adam()
        with pytest.raises(ValueError, match="must be two"):
            game(generator_optimizer=adam, discriminator_optimizer=adam)

    @pytest.mark.parametrize(
        ("networks", "match"),
        [
            ((layers.Dense(2), discriminator()), "`generator` must be a keras.Model"),
            ((generator(), 3), "`discriminator` must be a keras.Model"),
            ((generator(), generator()), "`discriminator` must take what the generator makes"),
            ((discriminator(), discriminator()), "`latent_dim` must be what the generator takes"),
            (
                (generator(), conditional().discriminator),
                "must both take labels, or neither",
            ),
        ],
    )
    def test_networks(self, networks, match):
        with pytest.raises(ValueError, match=match):
            duo.GAN(*networks, latent_dim=4)

    @pytest.mark.parametrize("arguments", [{"latent_dim": 0}, {"latent_dim": 4, "seed": "1"}])
    def test_numbers(self, arguments):
        name = list(arguments)[-1]
        with pytest.raises(ValueError, match=f"`{name}` must .* Received"):
            duo.GAN(generator(), discriminator(), **arguments)

    def test_data(self):
        gan = game()
        with pytest.raises(ValueError, match="`x` must hold what the generator makes"):
            fit(gan, np.ones((8, 3)))
        with pytest.raises(ValueError, match="`y` must be left out"):
            fit(gan, y=Y)
        with pytest.raises(ValueError, match="`sample_weight` must be left out"):
            fit(conditional(), y=Y, sample_weight=np.ones(70))
        with pytest.raises(ValueError, match="`n` must"):
            gan.generate(0)
        with pytest.raises(ValueError, match="`labels` must be left out"):
            gan.generate(2, labels=1)


class TestCheck:
    """`check` looks at the discriminator and the loss."""

    def codes(self, gan, *data):
        return [finding.code for finding in duo.check(gan, *data)]

    def test_a_game_that_fits(self):
        assert self.codes(game()) == self.codes(game(), X) == []
        assert self.codes(game(discriminator(activation="sigmoid"), loss=BCE())) == []
        assert self.codes(conditional(), X, Y) == []

    def test_a_game_that_does_not(self):
        with pytest.warns(UserWarning, match="ends in a linear layer"):
            gan = game(loss=BCE())
        assert self.codes(gan) == ["logits-as-probabilities"]
        assert self.codes(gan, X) == ["logits-as-probabilities"]
        with pytest.warns(UserWarning, match="ends in a sigmoid"):
            gan = game(discriminator(activation="sigmoid"))
        assert self.codes(gan)


def run(code, folder):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path]),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    return subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )

"""The adversarial losses and gradient penalties against their definitions, and in use."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_duo as duo
from keras_duo.losses import (
    gradient_penalty,
    hinge_gan_loss,
    lsgan_loss,
    non_saturating_loss,
    r1_penalty,
    relativistic_average_loss,
    wasserstein_loss,
)
from tests.backend import BACKEND, compiled, gradient, has_float64, numpy

REAL = np.array([-5.0, 1.4, 12.5, 2.7])[:, None]
FAKE = np.array([10.0, 4.4, -5.5, 3.6])[:, None]
GAMES = {
    "lsgan": duo.LSGAN(),
    "lsgan with targets": duo.LSGAN(-1.0, 0.9, 0.25),
    "wasserstein": duo.Wasserstein(),
    "hinge": duo.HingeGAN(),
    "non-saturating": duo.NonSaturating(),
    "smoothed": duo.NonSaturating(label_smoothing=0.1),
    "relativistic": duo.RelativisticAverage(),
}
FUNCTIONS = [lsgan_loss, wasserstein_loss, hinge_gan_loss, non_saturating_loss]


def log_sigmoid(x):
    return -np.logaddexp(0.0, -x)


def relativistic(real, fake):
    """The discriminator's loss as the paper writes it, from probabilities."""
    real, fake = real - fake.mean(), fake - real.mean()
    return -log_sigmoid(real).mean() - log_sigmoid(-fake).mean()


DEFINITIONS = {
    "lsgan": lambda r, f: (
        ((r - 1) ** 2 / 2).mean() + (f**2 / 2).mean(),
        ((f - 1) ** 2 / 2).mean(),
    ),
    "lsgan with targets": lambda r, f: (
        ((r - 0.9) ** 2 / 2).mean() + ((f + 1) ** 2 / 2).mean(),
        ((f - 0.25) ** 2 / 2).mean(),
    ),
    "wasserstein": lambda r, f: (f.mean() - r.mean(), -f.mean()),
    "hinge": lambda r, f: (
        np.maximum(0, 1 - r).mean() + np.maximum(0, 1 + f).mean(),
        -f.mean(),
    ),
    "non-saturating": lambda r, f: (
        -log_sigmoid(r).mean() - log_sigmoid(-f).mean(),
        -log_sigmoid(f).mean(),
    ),
    "smoothed": lambda r, f: (
        -(0.9 * log_sigmoid(r) + 0.1 * log_sigmoid(-r)).mean() - log_sigmoid(-f).mean(),
        -log_sigmoid(f).mean(),
    ),
    "relativistic": lambda r, f: (relativistic(r, f), relativistic(f, r)),
}


class TestGames:
    """Both players, against the definitions in float64."""

    @pytest.mark.parametrize(
        ("game", "discriminator", "generator"),
        [
            (duo.LSGAN(), 41.73375, 17.69625),
            (duo.Wasserstein(), 0.225, -3.125),
            (duo.HingeGAN(), 6.75, -3.125),
        ],
    )
    def test_published_values(self, game, discriminator, generator):
        assert numpy(game.discriminator_loss(REAL, FAKE)) == pytest.approx(discriminator, rel=1e-6)
        assert numpy(game.generator_loss(FAKE)) == pytest.approx(generator, rel=1e-6)

    @pytest.mark.parametrize("name", GAMES)
    @pytest.mark.parametrize("shape", [(4, 1), (4,), (2, 3, 3, 1), (2, 5)])
    def test_definition(self, name, shape):
        random = np.random.default_rng(0)
        real, fake = random.normal(size=(2, *shape)) * 3
        expected = DEFINITIONS[name](real, fake)
        game = GAMES[name]
        actual = game.discriminator_loss(real, fake), game.generator_loss(fake, real_output=real)
        for value, want in zip(actual, expected, strict=True):
            assert value.shape == ()
            assert numpy(value) == pytest.approx(want, rel=1e-5)

    @pytest.mark.parametrize("name", GAMES)
    def test_the_two_forms_agree(self, name):
        """As a sum over the kinds, and as twice the mean over a balanced batch."""
        game = GAMES[name]
        expected = numpy(game.discriminator_loss(REAL, FAKE))
        both, labels = np.concatenate([REAL, FAKE]), np.repeat([1, 0], 4)[:, None]
        assert 2 * numpy(game(labels, both)) == pytest.approx(expected, rel=1e-6)
        if name != "relativistic":
            parts = game(np.ones((4, 1)), REAL), game(np.zeros((4, 1)), FAKE)
            assert sum(numpy(part) for part in parts) == pytest.approx(expected, rel=1e-6)
        # The kinds may differ in number: each has a mean of its own.
        values = numpy(
            type(game).from_config({**game.get_config(), "reduction": None})(labels[:7], both[:7])
        )
        expected = numpy(game.discriminator_loss(REAL, FAKE[:3]))
        assert values[:4].mean() + values[4:].mean() == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize("name", GAMES)
    def test_half_precision_scores(self, name):
        """60,000 is a float16, its square and the sum of two of it are not."""
        game = GAMES[name]
        real, fake = ops.cast([[-6e4], [1.0]], "float16"), ops.cast([[6e4], [6e4]], "float16")
        expected = DEFINITIONS[name](numpy(real), numpy(fake))
        for value, want in zip(
            (game.discriminator_loss(real, fake), game.generator_loss(fake, real)),
            expected,
            strict=True,
        ):
            assert keras.backend.standardize_dtype(value.dtype) == "float32"
            assert numpy(value) == pytest.approx(want, rel=1e-5)

    @pytest.mark.skipif(not has_float64(), reason="JAX computes in float32")
    def test_float64_stays_float64(self):
        value = duo.LSGAN(dtype="float64").discriminator_loss(REAL, FAKE)
        assert keras.backend.standardize_dtype(value.dtype) == "float64"

    @pytest.mark.parametrize("name", GAMES)
    def test_compiled(self, name):
        game = GAMES[name]

        def play(real, fake):
            return game.discriminator_loss(real, fake) + game.generator_loss(fake, real)

        real, fake = ops.cast(REAL, "float32"), ops.cast(FAKE, "float32")
        for xla in (False, True):
            value = compiled(play, xla=xla)(real, fake)
            assert numpy(value) == pytest.approx(numpy(play(real, fake)), rel=1e-6)

    def test_a_relativistic_generator_needs_the_real_scores(self):
        with pytest.raises(ValueError, match=r"`real_output` must be given.*Received"):
            duo.RelativisticAverage().generator_loss(FAKE)

    def test_the_relativistic_generator_reaches_both_kinds(self):
        game = duo.RelativisticAverage()
        for i, scores in enumerate((FAKE, REAL)):
            slope = gradient(
                lambda s, i=i: game.generator_loss(*((s, REAL) if i == 0 else (FAKE, s))), scores
            )
            assert (slope != 0).all()

    @pytest.mark.skipif(BACKEND != "tensorflow", reason="only TensorFlow keeps the logits")
    def test_a_sigmoid_is_told_and_undone(self):
        for call in (
            lambda game, s: game.generator_loss(s, s),
            lambda game, s: game.discriminator_loss(s, s),
            lambda game, s: game(np.ones((4, 1)), s),
        ):
            for game in GAMES.values():
                scores = ops.convert_to_tensor(FAKE, "float32")
                with pytest.warns(UserWarning, match="takes raw scores, but the discriminator"):
                    value = call(game, keras.activations.sigmoid(scores))
                assert numpy(value) == pytest.approx(numpy(call(game, scores)))


class TestLabels:
    @pytest.mark.parametrize("function", FUNCTIONS)
    def test_a_soft_label_mixes_the_two_terms(self, function):
        ones, zeros = np.ones_like(FAKE), np.zeros_like(FAKE)
        expected = 0.3 * numpy(function(ones, FAKE)) + 0.7 * numpy(function(zeros, FAKE))
        np.testing.assert_allclose(numpy(function(0.3 * ones, FAKE)), expected, rtol=1e-6)

    def test_a_soft_label_moves_the_target_of_least_squares(self):
        score = np.array([[0.4], [2.0]])
        slope = gradient(lambda s: lsgan_loss([[0.9], [0.9]], s), score)
        np.testing.assert_allclose(slope, score - 0.9, rtol=1e-5)

    @pytest.mark.parametrize("function", [*FUNCTIONS, relativistic_average_loss])
    @pytest.mark.parametrize("bad", [-1.0, 1.5, 2.0, float("nan")])
    def test_another_coding_gives_nan(self, function, bad):
        """Labels -1 and 1, read as 0 and 1, would train without the fake term or against it."""
        for xla in (False, True):
            run = compiled(lambda s: function(np.array([[1.0], [bad]]), s), xla=xla)
            value = numpy(run(ops.cast([[0.5], [0.5]], "float32")))
            assert np.isnan(value[1])
            assert np.isnan(value[0]) == (function is relativistic_average_loss)

    def test_only_the_real_target_is_smoothed(self):
        zeros = np.zeros_like(FAKE)
        same = non_saturating_loss(zeros, FAKE, label_smoothing=0.3)
        np.testing.assert_array_equal(numpy(same), numpy(non_saturating_loss(zeros, FAKE)))

    def test_relativistic_soft_labels_weigh_the_means(self):
        label, score = np.array([[0.9], [0.2], [0.0]]), np.array([[2.0], [-1.0], [0.5]])
        real = (label * score).sum() / label.sum()
        fake = ((1 - label) * score).sum() / (1 - label).sum()
        expected = -label * log_sigmoid(score - fake) - (1 - label) * log_sigmoid(real - score)
        actual = numpy(relativistic_average_loss(label, score))
        np.testing.assert_allclose(actual, expected[:, 0], rtol=1e-5)

    def test_a_batch_of_one_kind_is_compared_with_zero(self):
        for labels in (np.ones((4, 1)), np.zeros((4, 1))):

            def loss(s, labels=labels):
                return relativistic_average_loss(labels, s)

            expected = numpy(non_saturating_loss(labels, REAL))
            np.testing.assert_allclose(numpy(loss(REAL)), expected, rtol=1e-6)
            assert np.isfinite(gradient(loss, REAL)).all()

    def test_a_masked_example_leaves_the_relativistic_means(self):
        """A blank in its place would be a fake example of score 0."""
        labels, scores = np.repeat([1, 0], 4)[:, None], np.concatenate([REAL, FAKE])
        weights = np.array([1.0, 1, 0, 1, 1, 0, 1, 1])
        kept = weights > 0
        loss = duo.RelativisticAverage(reduction="sum")
        for shape in ((8, 1), (8,)):
            value = loss(labels.reshape(shape), scores.reshape(shape), weights.reshape(shape))
            assert numpy(value) == pytest.approx(numpy(loss(labels[kept], scores[kept])), rel=1e-6)


def critic_of(weights):
    """Two layers of tanh and one of a product, from 2 x 3 inputs to two scores."""
    first, second, third = weights

    def critic(x):
        x = ops.reshape(x, (ops.shape(x)[0], 6))
        hidden = ops.tanh(ops.matmul(ops.tanh(ops.matmul(x, first)), second))
        return ops.matmul(hidden, third) * hidden[:, :2]

    return critic


def random_weights():
    random = np.random.default_rng(3)
    return [random.normal(size=shape) for shape in ((6, 5), (5, 4), (4, 2))]


DTYPE = "float64" if has_float64() else "float32"


class TestPenalties:
    real, fake = np.random.default_rng(0).normal(size=(2, 7, 2, 3)).astype(DTYPE)

    def test_values_by_central_differences(self):
        """The norm over all axes of an example but the batch, at points between the two."""
        critic, step = critic_of([ops.cast(w, DTYPE) for w in random_weights()]), 1e-5
        if not has_float64():
            step = 1e-2
        slopes = np.zeros((7, 6))
        for i in range(6):
            shift = (step * np.eye(6)[i]).reshape(2, 3)
            ahead, behind = (numpy(critic((self.real + s).astype(DTYPE))) for s in (shift, -shift))
            slopes[:, i] = (ahead - behind).sum(-1) / (2 * step)
        norms = np.linalg.norm(slopes, axis=1)
        rtol = 1e-6 if has_float64() else 5e-3
        # With real = fake there is only one point between them.
        for target, one_sided in ((1.0, False), (0.0, False), (norms.mean(), True)):
            excess = norms - target
            excess = np.maximum(excess, 0) if one_sided else excess
            value = gradient_penalty(
                critic, self.real, self.real, target=target, one_sided=one_sided
            )
            assert value.shape == ()
            assert numpy(value) == pytest.approx((excess**2).mean(), rel=rtol)
        expected = (norms**2).mean() / 2
        assert numpy(r1_penalty(critic, self.real)) == pytest.approx(expected, rel=rtol)

    @pytest.mark.parametrize("which", range(3))
    @pytest.mark.parametrize("form", ["two-sided", "one-sided", "r1"])
    def test_gradient_with_respect_to_the_weights(self, which, form):
        """The second derivative, against central differences of the penalty."""

        def penalty(weight):
            weights = [ops.cast(w, DTYPE) for w in random_weights()]
            weights[which] = weight
            critic = critic_of(weights)
            if form == "r1":
                return r1_penalty(critic, self.real)
            return gradient_penalty(
                critic, self.real, self.fake, one_sided=form == "one-sided", target=1.5, seed=4
            )

        weight = random_weights()[which].astype(DTYPE)
        slope = gradient(penalty, weight)
        assert (slope != 0).any()
        step, rtol = (1e-6, 1e-4) if has_float64() else (1e-3, 1e-2)
        for direction in np.random.default_rng(5).normal(size=(4, *weight.shape)):
            ahead = numpy(penalty((weight + step * direction).astype(DTYPE)))
            behind = numpy(penalty((weight - step * direction).astype(DTYPE)))
            expected = (ahead - behind) / (2 * step)
            assert (slope * direction).sum() == pytest.approx(expected, rel=rtol, abs=rtol * 1e-1)

    @pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-20, 1.0, 1e18])
    def test_norms_of_any_size(self, scale):
        """sqrt of a sum of squares has a NaN gradient at 0, and no value at 1e-30 or 1e20."""
        x = self.real.astype("float32")

        def penalty(weight, target=0.0):
            return gradient_penalty(lambda x: weight * ops.sum(x, axis=(1, 2)), x, x, target=target)

        weight = np.float32(scale)
        expected = np.float32(6) * weight * weight
        assert numpy(penalty(weight)) == pytest.approx(expected, rel=1e-5)
        slope = gradient(lambda w: penalty(w, target=1.0), weight)
        if scale < 1e-15:  # -2 times the slope of the norm, which at 0 has none
            assert slope == pytest.approx(0.0 if scale == 0 else -2 * 6**0.5, rel=1e-5)
        else:
            assert slope == pytest.approx(2 * (6 * scale - 6**0.5), rel=1e-5)

    def test_a_constant_critic_has_no_slope(self):
        def constant(x):
            return ops.ones((7, 1))

        assert numpy(gradient_penalty(constant, self.real, self.fake)) == 1.0
        assert numpy(gradient_penalty(constant, self.real, self.fake, one_sided=True)) == 0.0
        assert numpy(r1_penalty(constant, self.real)) == 0.0

    def test_the_points_lie_between_real_and_fake(self):
        """One share for each example, over all of its entries, in [0, 1]."""
        seen = []

        def critic(x):
            seen.append(x)
            return ops.sum(x, axis=(1, 2))

        ones, seed = np.ones((500, 2, 3), "float32"), keras.random.SeedGenerator(1)
        if BACKEND == "jax":
            pytest.skip("jax.grad hands the critic a tracer")
        gradient_penalty(critic, ones, -ones, seed=seed)
        gradient_penalty(critic, ones, -ones, seed=seed)
        first, second = (numpy(x) for x in seen)
        assert (first == first[:, :1, :1]).all()
        assert -1 <= first.min() < -0.9
        assert 0.9 < first.max() <= 1
        assert abs(first.mean()) < 0.1
        assert (first != second).any()

    def test_seeds(self):
        critic = critic_of([ops.cast(w, DTYPE) for w in random_weights()])

        def penalty(seed):
            return numpy(gradient_penalty(critic, self.real, self.fake, seed=seed))

        assert penalty(3) == penalty(np.int64(3)) != penalty(4)
        assert penalty(None) != penalty(None)
        for bad in (1.5, "1", True):
            with pytest.raises(ValueError, match=r"`seed` must be None, an integer or.*Received"):
                penalty(bad)

    @pytest.mark.skipif(BACKEND != "tensorflow", reason="tf.function")
    def test_inside_a_compiled_step_of_unknown_batch(self):
        import tensorflow as tf

        critic = keras.Sequential([keras.Input((2, 3)), keras.layers.Flatten()])
        critic.add(keras.layers.Dense(4, activation="tanh"))
        critic.add(keras.layers.Dense(1))
        seed = keras.random.SeedGenerator(2)
        spec = tf.TensorSpec([None, 2, 3], "float32")

        for xla in (False, True):

            @tf.function(input_signature=[spec, spec], jit_compile=xla)
            def step(real, fake):
                with tf.GradientTape() as tape:
                    value = gradient_penalty(critic, real, fake, seed=seed)
                    value += gradient_penalty(critic, real, fake)
                    value += r1_penalty(critic, real)
                return value, tape.gradient(value, critic.trainable_variables)

            real, fake = self.real.astype("float32"), self.fake.astype("float32")
            first, slopes = step(real, fake)
            second, _ = step(real, fake)
            assert numpy(first) != numpy(second)  # drawn again at each step
            # The bias of a linear output does not move the slope of the scores.
            assert [slope is None for slope in slopes] == [False, False, False, True]
            assert all(np.isfinite(numpy(slope)).all() for slope in slopes[:3])
            if not xla:
                with pytest.raises(tf.errors.InvalidArgumentError):
                    step(real, fake[:1])

    def test_half_precision_and_integer_inputs(self):
        images = np.random.default_rng(0).integers(0, 256, (4, 2, 3)).astype("uint8")
        for x in (images, ops.cast(images, "float16")):
            for value in (
                gradient_penalty(lambda x: 300.0 * ops.sum(x, axis=(1, 2)), x, x),
                r1_penalty(lambda x: 300.0 * ops.sum(x, axis=(1, 2)), x),
            ):
                assert keras.backend.standardize_dtype(value.dtype) == "float32"
                assert np.isfinite(numpy(value))

    def test_bad_arguments(self):
        with pytest.raises(
            ValueError, match=r"`real` and `fake` must have the same shape.*Received"
        ):
            gradient_penalty(ops.sum, self.real, self.fake[:1])
        with pytest.raises(ValueError, match=r"`target` must be.*Received"):
            gradient_penalty(ops.sum, self.real, self.fake, target=-1.0)
        with pytest.raises(ValueError, match=r"`one_sided` must be.*Received"):
            gradient_penalty(ops.sum, self.real, self.fake, one_sided=1)

    def test_other_backends_are_told(self, monkeypatch):
        monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
        with pytest.raises(NotImplementedError, match=r"TensorFlow or the JAX backend.*torch"):
            r1_penalty(ops.sum, self.real)


@pytest.mark.parametrize("loss", [duo.LSGAN(), duo.HingeGAN(), duo.RelativisticAverage()])
def test_a_discriminator_trains(loss):
    """Through `compile` and `fit`, on labelled batches of both kinds."""
    random = np.random.default_rng(0)
    x = np.concatenate([random.normal(1, 1, (200, 2)), random.normal(-1, 1, (200, 2))])
    y = np.repeat([1, 0], 200)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.05), loss)
    model.fit(x.astype("float32"), y, batch_size=64, epochs=10, verbose=0)
    score = numpy(model(x.astype("float32")))[:, 0]
    assert (score[y == 1][:, None] > score[y == 0]).mean() > 0.95

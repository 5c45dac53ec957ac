"""GAN: a generator and a discriminator, one compile, one fit."""

from typing import Any

import keras
import numpy as np
from keras import backend, ops

from keras_duo._register import register
from keras_duo._serialize import (
    loss_from_config,
    loss_to_config,
    metric_from_config,
    model_from_config,
    optimizer_from_config,
)
from keras_duo._validate import integer, number, optional
from keras_duo.losses.adversarial import LSGAN
from keras_duo.models._gan_average import WeightAverage
from keras_duo.models._gan_data import batch_of, one_each
from keras_duo.models._gan_game import Game, resolve_loss, warn_of_misfits
from keras_duo.models._gan_networks import connected
from keras_duo.models._gan_optimizers import pair_of, scaling

_LATENT_DIM = integer(at_least=1)
_SEED = optional(integer())
_COUNT = integer(at_least=1)
_FACTOR = optional(number(above=0))
_EMA = optional(number(above=0, below=1))
_TRACKED = ("generator_loss", "discriminator_loss", "real_score", "fake_score", "penalty")


@register
class GAN(keras.Model):
    """Two networks in a game: D(x) learns to tell real x from G(z), G learns that it cannot.

    `fit(x)` trains both: each batch is one update of the discriminator, or `discriminator_steps`,
    and one of the generator, from gradients that are taken at the same weights and from the same
    fakes. `history` holds the mean over all examples of `generator_loss` and `discriminator_loss`
    (what each minimises, penalties and regularisation included), `real_score` and `fake_score`
    (what the discriminator puts out), and `penalty`. `generate(n)` gives examples.

    A conditional GAN has networks of two inputs, the second of which takes the labels: `fit(x, y)`,
    `generate(n, labels)`. Such networks are functional models.

    Args:
        generator: From (batch, latent_dim) to examples: a Keras model, or a functional one of
            `[latent, labels]`.
        discriminator: From examples, or `[examples, labels]`, to scores: one an example, or one a
            patch. Output activation: linear, unless the loss takes probabilities.
        latent_dim: Numbers in a latent vector, which are drawn from N(0, 1).
        seed: Where the draws start; None: anywhere, or where `keras.utils.set_random_seed` says.
        **kwargs: `name`, `dtype`, `trainable`.

    Raises:
        ValueError: If an argument is out of range, or the two networks do not fit each other.
        NotImplementedError: On a backend other than TensorFlow.
        FloatingPointError: From `fit`, in a step that leaves the finite numbers. It names the
            network and the step; the weights are those before the update, except under XLA.

    Saved to `.keras` is the whole game: both networks, both optimizers, the average of the
    generator and the random state, so that training goes on as if it had not stopped.

    Partners: the losses `LSGAN`, `Wasserstein`, `HingeGAN`, `NonSaturating`, `RelativisticAverage`.

    Source:
        Goodfellow et al., Generative Adversarial Networks, 2014, arXiv:1406.2661.

    Example:
        >>> import keras, numpy as np, keras_duo
        >>> generator = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)])
        >>> discriminator = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> gan = keras_duo.GAN(generator, discriminator, latent_dim=8)
        >>> gan.compile("adam", loss=keras_duo.LSGAN())
        >>> history = gan.fit(np.ones((64, 2)), epochs=2, verbose=0)
        >>> gan.generate(5).shape
        (5, 2)
    """

    def __init__(
        self,
        generator: keras.Model,
        discriminator: keras.Model,
        latent_dim: int,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        if backend.backend() != "tensorflow":
            raise NotImplementedError(
                f"GAN needs the TensorFlow backend. Received: backend={backend.backend()!r}"
            )
        super().__init__(**kwargs)
        self.latent_dim = _LATENT_DIM("latent_dim", latent_dim)
        self.seed = _SEED("seed", seed)
        self.example_shape, self.score_shape, self.conditional = connected(
            generator, discriminator, self.latent_dim
        )
        self.generator = generator
        self.discriminator = discriminator
        self.seeds = keras.random.SeedGenerator(self.seed)
        # Started anew for each evaluation, which is no part of the training and can be repeated.
        self.evaluation_seeds = keras.random.SeedGenerator(0)
        counter = {"dtype": "int64", "initializer": "zeros", "trainable": False}
        self.steps = self.add_weight(name="steps", shape=(), **counter)
        self.failures = self.add_weight(name="failures", shape=(4,), **counter)
        self.trackers = {name: keras.metrics.Mean(name=name) for name in _TRACKED}
        self.average: WeightAverage | None = None
        self.built = True

    def compile(
        self,
        optimizer: Any = None,
        loss: Any = None,
        *,
        generator_optimizer: Any = None,
        discriminator_optimizer: Any = None,
        gradient_penalty: float | None = None,
        r1_penalty: float | None = None,
        discriminator_steps: int = 1,
        ema: float | None = None,
        metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Set the rules of the game.

        Args:
            optimizer: For both networks, each of which gets a copy. None: Adam(2e-4, beta_1=0.5).
            loss: An adversarial loss of keras_duo, or a Keras loss or its name: real examples are
                labelled 1 and fake ones 0, the generator wants 1. None: `LSGAN()`.
            generator_optimizer: For the generator, in the place of `optimizer`.
            discriminator_optimizer: For the discriminator, in the place of `optimizer`.
            gradient_penalty: lambda of WGAN-GP, 10 in the paper; None: no penalty.
            r1_penalty: gamma of the R1 penalty, 10 in the paper; None: no penalty.
            discriminator_steps: Updates of the discriminator for one of the generator, each on the
                same real examples and on new fakes.
            ema: What a moving average of the generator's weights keeps at each step, such as 0.99.
                `generate`, `predict` and `evaluate` then use the average.
            metrics: Keras metrics of the scores, with 1 for real and 0 for fake as labels.
            run_eagerly: As for `keras.Model.compile`, and so are the following.
            steps_per_execution: Batches in one call of the compiled step.
            jit_compile: Whether to compile with XLA.
            auto_scale_loss: Whether both optimizers scale their loss under `mixed_float16`.

        Raises:
            ValueError: If an argument is out of range.
        """
        self.discriminator_steps = _COUNT("discriminator_steps", discriminator_steps)
        self.gradient_penalty = _FACTOR("gradient_penalty", gradient_penalty)
        self.r1_penalty = _FACTOR("r1_penalty", r1_penalty)
        self.ema = _EMA("ema", ema)
        if not isinstance(metrics, list | tuple | None):
            raise ValueError(f"`metrics` must be a list. Received: metrics={metrics!r}")
        given = LSGAN() if loss is None else loss
        loss = resolve_loss(given)
        self.game = Game(loss)
        pair = pair_of(optimizer, generator_optimizer, discriminator_optimizer)
        penalised = self.gradient_penalty is not None or self.r1_penalty is not None
        warn_of_misfits(self.discriminator, self.game, penalised)
        super().compile(
            optimizer=None,
            metrics=metrics,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
        )
        self.loss = loss
        # As a function, because Keras would track what is in a dictionary.
        self._compiled_with = lambda: {
            "loss": given if isinstance(given, str) else loss_to_config(given),
            "generator_optimizer": keras.saving.serialize_keras_object(pair[0]),
            "discriminator_optimizer": keras.saving.serialize_keras_object(pair[1]),
            "gradient_penalty": self.gradient_penalty,
            "r1_penalty": self.r1_penalty,
            "discriminator_steps": self.discriminator_steps,
            "ema": self.ema,
            "metrics": [keras.saving.serialize_keras_object(m) for m in metrics or []],
            "run_eagerly": run_eagerly,
            "steps_per_execution": steps_per_execution,
            "jit_compile": jit_compile,
            "auto_scale_loss": auto_scale_loss,
        }
        networks = (self.generator, self.discriminator)
        with self.distribute_strategy.scope():
            self.generator_optimizer, self.discriminator_optimizer = (
                scaling(player, networks) if auto_scale_loss else player for player in pair
            )
            # Built now: a file that is loaded restores only what is there.
            self.generator_optimizer.build(self.generator.trainable_variables)
            self.discriminator_optimizer.build(self.discriminator.trainable_variables)
            if self.ema is None:
                self.average = None
            elif self.average is None:
                self.average = WeightAverage(self.generator)
            if metrics:
                self._build_metrics()

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Examples for latent vectors, or for `[latent, labels]`."""
        if self.average is not None and not training:
            return self.average.call(inputs, training=False)
        return self.generator(inputs, training=training)

    def generate(
        self, n: int, labels: Any = None, seed: int | None = None, batch_size: int = 128
    ) -> np.ndarray:
        """Examples from `n` random latent vectors, with the averaged weights if there is an `ema`.

        Args:
            n: How many.
            labels: Of a conditional GAN: one label for each example, or one for all.
            seed: An integer for the same examples at each call, None for new ones.
            batch_size: Examples in one call of the generator.

        Raises:
            ValueError: If an argument is out of range, or `labels` do not fit.
        """
        n, seed = _COUNT("n", n), _SEED("seed", seed)
        labels = one_each(self, labels, n)
        latent = keras.random.normal((n, self.latent_dim), seed=seed)
        inputs = latent if labels is None else [latent, labels]
        return self.predict(inputs, batch_size=batch_size, verbose=0)

    def averaged_generator(self) -> keras.Model:
        """A copy of the generator with the weights that `generate` uses: to save, or to export."""
        copy = keras.models.clone_model(self.generator)
        weights = self.generator.weights if self.average is None else self.average.variables
        copy.set_weights([ops.convert_to_numpy(weight) for weight in weights])
        return copy

    def train_step(self, data: Any) -> dict[str, Any]:
        """One batch of real examples; called by `fit`."""
        from keras_duo.models import _gan_step  # which imports TensorFlow

        _gan_step.train(self, *batch_of(self, data))
        return self.get_metrics_result()

    def test_step(self, data: Any) -> dict[str, Any]:
        """The same figures without an update; called by `evaluate`."""
        from keras_duo.models import _gan_step

        _gan_step.test(self, *batch_of(self, data))
        return self.get_metrics_result()

    def track(self, seen: Any, with_generator: bool = True) -> None:
        """Take the figures of one batch into the means, and the scores into the metrics."""
        count = ops.shape(seen.real)[0]
        for name, tracker in self.trackers.items():
            if with_generator or name != "generator_loss":
                tracker.update_state(getattr(seen, name), sample_weight=count)
        labels = ops.concatenate([ops.ones_like(seen.real), ops.zeros_like(seen.fake)])
        self.compute_metrics(None, labels, ops.concatenate([seen.real, seen.fake]))

    @property
    def metrics(self) -> list:
        """The figures of the game, and the metrics of `compile`."""
        # There is no single `loss`.
        return [metric for metric in super().metrics if metric is not self._loss_tracker]

    def reset_metrics(self) -> None:
        """Start the means anew, and the draws of an evaluation."""
        super().reset_metrics()
        self.evaluation_seeds.state.assign([0, 0])

    def make_train_function(self, force: bool = False) -> Any:
        """Compile the training step, with a look at what it notes about numbers not finite."""
        from keras_duo.models import _gan_step

        compiled: Any = getattr(self, "train_function", None)
        if compiled is None or force:
            super().make_train_function(force)
            compiled = _gan_step.stopping(self, self.train_function)
        self.train_function: Any = compiled
        return compiled

    def get_config(self) -> dict[str, Any]:
        """Every argument of the constructor."""
        return {
            **super().get_config(),
            "generator": keras.saving.serialize_keras_object(self.generator),
            "discriminator": keras.saving.serialize_keras_object(self.discriminator),
            "latent_dim": self.latent_dim,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "GAN":
        """A GAN as `get_config` describes it."""
        networks = {key: model_from_config(config[key]) for key in ("generator", "discriminator")}
        return cls(**{**config, **networks})

    def get_compile_config(self) -> dict[str, Any]:
        """Every argument of `compile`; empty before it."""
        return self._compiled_with() if self.compiled else {}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as `get_compile_config` describes."""
        players = ("generator_optimizer", "discriminator_optimizer")
        loss = config["loss"]
        self.compile(
            **{
                **config,
                **{player: optimizer_from_config(config[player]) for player in players},
                "loss": loss if isinstance(loss, str) else loss_from_config(loss),
                "metrics": [metric_from_config(metric) for metric in config["metrics"]] or None,
            }
        )

    def save_own_variables(self, store: Any) -> None:
        """What is not in the networks and the optimizers: the random state and the average."""
        store["steps"] = self.steps
        for index, state in enumerate(self._random_states()):
            store[f"seed_{index}"] = state
        for index, weight in enumerate(self.average.variables if self.average else []):
            store[f"average_{index}"] = weight

    def load_own_variables(self, store: Any) -> None:
        """What `save_own_variables` wrote."""
        self.steps.assign(store["steps"])
        for index, state in enumerate(self._random_states()):
            state.assign(store[f"seed_{index}"])
        if "average_0" not in store.keys():  # noqa: SIM118
            return
        if self.average is None:  # loaded with `compile=False`, to generate
            self.average = WeightAverage(self.generator)
        for index, weight in enumerate(self.average.variables):
            weight.assign(store[f"average_{index}"])

    def _random_states(self) -> list:
        """Of the model and of layers such as Dropout; Keras leaves them out of a file."""
        saved = {id(weight) for weight in self.weights}
        return [variable for variable in self.variables if id(variable) not in saved]

    def _build_metrics(self) -> None:
        """Make the variables of the metrics, which Keras would call the model for."""
        score = ops.zeros((2, *(1 if size is None else size for size in self.score_shape)))
        with keras.StatelessScope():
            self.compute_metrics(None, score, score)

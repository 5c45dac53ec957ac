"""The training step of a GAN, on TensorFlow.

The generator runs once, and the scores of its fakes serve both players: each has a tape of its own,
and both gradients are taken at the same weights. Real and fake examples pass through the
discriminator apart, so that BatchNormalization sees one kind at a time, and because nothing of the
generator's gradient then runs through the real half.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_duo._clusters import has_cpus_only
from keras_duo.losses._logits import wide_float
from keras_duo.losses.penalties import r1_penalty, slope_penalty

# Where a number that is not finite can first appear, in the order of the computation.
SUSPECTS = ("data", "generator", "discriminator", "generator")


class Seen(NamedTuple):
    """What one look at a batch shows: scalars, and the scores of the discriminator."""

    discriminator_loss: Any
    generator_loss: Any
    penalty: Any
    real_score: Any
    fake_score: Any
    real: Any
    fake: Any


def train(gan: Any, real: Any, labels: Any) -> None:
    """`discriminator_steps` updates of the discriminator, the last one with the generator's."""
    step = gan.steps.assign_add(1)
    players = [_Player(gan.discriminator_optimizer, gan.discriminator.trainable_variables)]
    for left in reversed(range(gan.discriminator_steps)):
        if not left:
            players.append(_Player(gan.generator_optimizer, gan.generator.trainable_variables))
        with tf.GradientTape() as generator_tape:
            fake = gan.generator(_beside(latents(gan, real, gan.seeds), labels), training=True)
            added = _sum(gan.generator.losses)
            with tf.GradientTape() as discriminator_tape:
                seen = look(gan, real, fake, labels, gan.seeds, training=True)
                to_pay = [_scaled(gan.discriminator_optimizer, seen.discriminator_loss)]
            seen = seen._replace(generator_loss=_sum([seen.generator_loss, added]))
            to_pay.append(_scaled(gan.generator_optimizer, seen.generator_loss))
        tapes = (discriminator_tape, generator_tape)
        gradients = [
            tape.gradient(loss, player.variables)
            for player, tape, loss in zip(players, tapes, to_pay, strict=False)
        ]
        with tf.control_dependencies(_checked(gan, step, real, fake, seen, players, gradients)):
            gradients = [[g if g is None else tf.identity(g) for g in each] for each in gradients]
        for player, each in zip(players, gradients, strict=True):
            _update(player, each)
        gan.track(seen, with_generator=not left)
    if gan.average is not None:
        _clustered(lambda step: gan.average.update(gan.ema, step))(step)


def test(gan: Any, real: Any, labels: Any) -> None:
    """The same figures for the generator that `generate` uses, without an update."""
    fake = gan(_beside(latents(gan, real, gan.evaluation_seeds), labels), training=False)
    if gan.average is None:
        added = _sum(gan.generator.losses)
    else:
        added = _sum([v.regularizer(v) for v in _penalised(gan.generator)])
    seen = look(gan, real, fake, labels, gan.evaluation_seeds, training=False)
    gan.track(seen._replace(generator_loss=_sum([seen.generator_loss, added])))


def stopping(gan: Any, function: Callable) -> Callable:
    """`function`, the compiled steps, which ends in an error that says who failed and when."""

    def run(data: Any) -> Any:
        try:
            logs = function(data)
        except tf.errors.InvalidArgumentError as error:
            _raise_noted(gan, error)
            raise
        if gan.jit_compile:
            _raise_noted(gan, None)
        return logs

    return run


def look(gan: Any, real: Any, fake: Any, labels: Any, seeds: Any, training: bool) -> Seen:
    """Both losses, without what the layers of the generator add to its own."""

    def critic(x: Any) -> Any:
        return gan.discriminator(_beside(x, labels), training=training)

    real_scores = critic(real)
    added = _added_by_calls(gan.discriminator)
    fake_scores = critic(fake)
    added += _sum(gan.discriminator.losses)
    penalties = []
    if gan.gradient_penalty is not None:
        points = _between(real, tf.stop_gradient(fake), seeds)
        penalties.append(gan.gradient_penalty * slope_penalty(critic, points))
    if gan.r1_penalty is not None:
        penalties.append(gan.r1_penalty * r1_penalty(critic, real))
    penalty = _sum(penalties)
    total, generator_loss, penalty, real_score, fake_score = _unless_empty(
        real,
        _sum([gan.game.discriminator(real_scores, fake_scores), penalty, added]),
        gan.game.generator(fake_scores, real_scores),
        penalty,
        ops.mean(wide_float(real_scores)),
        ops.mean(wide_float(fake_scores)),
    )
    return Seen(total, generator_loss, penalty, real_score, fake_score, real_scores, fake_scores)


def latents(gan: Any, real: Any, seeds: Any) -> Any:
    """Latent vectors, one for each real example."""
    return _drawn(real, (gan.latent_dim,), lambda shape: keras.random.normal(shape, seed=seeds))


class _Player(NamedTuple):
    optimizer: Any
    variables: list


def _update(player: _Player, gradients: list) -> None:
    """The step of an optimizer; one of Keras' own, on dense gradients, as a cluster."""
    optimizer, variables = player

    def apply(*gradients: Any) -> None:
        optimizer.apply(list(gradients), variables)

    dense = all(isinstance(gradient, tf.Tensor) for gradient in gradients)
    known = type(optimizer).__module__.startswith("keras.")
    scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    (_clustered(apply) if dense and known and not scaled else apply)(*gradients)


def _clustered(function: Callable) -> Callable:
    """`function`, which changes variables, as one XLA cluster where the step runs op by op on CPUs.

    An optimizer such as Adam is a dozen passes over the weights there, and as a cluster one or two.
    """
    if tf.executing_eagerly() or _replicas() > 1 or not has_cpus_only():
        return function
    return tf.function(function, jit_compile=True, autograph=False)


def _between(real: Any, fake: Any, seeds: Any) -> Any:
    """Points on the lines from real to fake examples, one on each."""
    real, fake = wide_float(real), wide_float(fake)
    ones = (1,) * (len(real.shape) - 1)
    share = _drawn(real, ones, lambda shape: keras.random.uniform(shape, seed=seeds))
    return fake + ops.cast(share, real.dtype) * (real - fake)


def _drawn(real: Any, shape: tuple, draw: Any) -> Any:
    """One random draw for each real example.

    All replicas hold the same seed. Each draws for the whole batch and keeps its part, so that no
    two have the same numbers, and so that together they have those of a single device.
    """
    count, replicas = ops.shape(real)[0], _replicas()
    if replicas == 1:
        return draw((count, *shape))
    place = tf.distribute.get_replica_context().replica_id_in_sync_group
    everyone = draw((count * replicas, *shape))
    return everyone[place * count : (place + 1) * count]


def _checked(
    gan: Any,
    step: Any,
    real: Any,
    fake: Any,
    seen: Seen,
    players: Sequence[_Player],
    gradients: Sequence[list],
) -> list:
    """Notes who was first to leave the finite numbers, and stops the step there.

    A compiler such as XLA leaves out the stop. The note stays.
    """
    losses = (seen.discriminator_loss, seen.generator_loss)
    found = [[real], [fake], *([loss] for loss in losses)]
    for place, (player, each) in enumerate(zip(players, gradients, strict=True)):
        # A loss scale is found by trying what is not finite.
        if not isinstance(player.optimizer, keras.optimizers.LossScaleOptimizer):
            found[2 + place] += [g for g in each if g is not None]
    bad = tf.stack([tf.logical_not(_are_finite(tensors)) for tensors in found])
    if _replicas() > 1:
        context = tf.distribute.get_replica_context()
        bad = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.cast(bad, "int32")) > 0
    first = tf.logical_and(gan.failures.value == 0, bad)
    noted = gan.failures.assign(tf.where(first, tf.cast(step, "int64"), gan.failures.value))
    with tf.control_dependencies([tf.convert_to_tensor(noted)]):
        fine = tf.logical_not(tf.reduce_any(bad))
        stop = tf.debugging.Assert(fine, ["A training step left the finite numbers.", step])
    return [] if stop is None else [stop]


def _raise_noted(gan: Any, cause: Exception | None) -> None:
    """An error if a step has noted one."""
    noted = ops.convert_to_numpy(gan.failures)
    if not noted.any():
        return
    step = int(noted[noted > 0].min())
    suspect = SUSPECTS[int(np.argmax(noted == step))]
    gan.failures.assign(np.zeros_like(noted))
    where = f"in training step {step}"
    if suspect == "data":
        raise FloatingPointError(f"The real examples are not finite {where}.") from cause
    after = "were updated with it" if cause is None else "are those before the update"
    raise FloatingPointError(
        f"The {suspect} is not finite any more {where}: its output, its loss or its gradient. The "
        f"weights {after}. A lower learning rate, `clipnorm`, or a penalty may help."
    ) from cause


def _are_finite(tensors: list) -> Any:
    """Whether all entries are finite, in one pass: what is not finite stays so in a sum."""
    dense = [tf.convert_to_tensor(getattr(tensor, "values", tensor)) for tensor in tensors]
    sums = [tf.reduce_sum(tf.cast(tensor, "float32")) for tensor in dense]
    return tf.reduce_all(tf.math.is_finite(tf.stack(sums)))


def _unless_empty(real: Any, *scalars: Any) -> tuple:
    """0 in the place of a mean over nothing, which is what a replica may get of a last batch."""
    if _replicas() == 1:
        return scalars
    empty = ops.shape(real)[0] == 0
    return tuple(ops.where(empty, ops.zeros_like(scalar), scalar) for scalar in scalars)


def _scaled(optimizer: Any, loss: Any) -> Any:
    # The optimizer sums the gradients of the replicas.
    return optimizer.scale_loss(loss / _replicas())


def _replicas() -> int:
    return tf.distribute.get_strategy().num_replicas_in_sync


def _beside(x: Any, labels: Any) -> Any:
    return x if labels is None else [x, labels]


def _added_by_calls(network: Any) -> Any:
    """What the last call added to the loss, without the penalties on weights that `losses` ends in.

    Those are the same after the next call, and count once.
    """
    losses = network.losses
    return _sum(losses[: len(losses) - len(_penalised(network))])


def _penalised(network: Any) -> list:
    return [weight for weight in network.trainable_weights if weight.regularizer is not None]


def _sum(scalars: Sequence) -> Any:
    total = ops.zeros((), "float32")
    for scalar in scalars:
        total = ops.add(total, ops.sum(wide_float(scalar)))
    return total

"""Images per second of a GAN's training step beside loops as tutorials write them.

    python benchmarks/gan.py                 # the networks of examples/gan.py, without labels
    python benchmarks/gan.py --networks large --rounds 10

Three loops with the same networks, the same optimizers and the same batch, each a `tf.function`:

- "two passes": two tapes, and under each a forward pass through both networks of its own; then both
  updates. The same noise under both, so that its results are those of `GAN`.
- "alternating": the same, but the discriminator is updated first, and the generator plays against
  it with new noise (the usual loop in Keras).
- "shared fakes": two tapes around one pass of the generator and two of the discriminator.

All run in turn, so that what else the machine does meets all of them; figures are medians, and
ratios of medians. Before, `GAN` and "two passes" take ten steps from the same weights, and the
largest difference of a weight is printed. A spectral norm is estimated anew at each pass, three
times there and twice here: under it the two differ by more than rounding.
"""

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import keras_duo as duo

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import gan as example

SHAPE, SEED = (28, 28, 1), 7


def main():
    """Compare the results, then the time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="*", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=30)
    args = parser.parse_args()
    images = np.random.default_rng(0).uniform(-1, 1, (args.batch, *SHAPE)).astype("float32")
    for name in args.networks:
        difference = largest_difference(NETWORKS[name], images)
        print(f"\n{name}: largest difference of a weight after 10 steps {difference:.1e}")
        steps = {kind: make(NETWORKS[name])(images) for kind, make in STEPS.items()}
        seconds = {kind: [] for kind in steps}
        for _ in range(args.rounds):
            for kind, step in steps.items():
                start = time.perf_counter()
                for _ in range(2):
                    step()
                seconds[kind].append((time.perf_counter() - start) / 2)
        ours = np.median(seconds["GAN"])
        print(f"{'':14}{'ms':>8}{'images/s':>10}{'GAN takes':>12}")
        for kind, times in seconds.items():
            own = np.median(times)
            print(f"{kind:14}{1e3 * own:>8.1f}{args.batch / own:>10.0f}{ours / own:>12.2f}")


def largest_difference(networks, images):
    """Between the weights after ten steps of `GAN` and of the loop with two passes."""
    ends = []
    for make in (fitted, two_passes):
        keras.utils.set_random_seed(0)
        made = networks()
        step = make(lambda made=made: made)(images, warm=False)
        for _ in range(10):
            step()
        ends.append([weight for network in made[:2] for weight in network.trainable_variables])
    return max(np.abs(a.numpy() - b.numpy()).max() for a, b in zip(*ends, strict=True))


def fitted(networks):
    """The step that `fit` calls."""

    def prepare(images, warm=True):
        generator, discriminator, latent_dim = networks()
        gan = duo.GAN(generator, discriminator, latent_dim, seed=SEED)
        gan.compile(
            generator_optimizer=optimizer(), discriminator_optimizer=optimizer(), loss=duo.LSGAN()
        )
        gan.make_train_function()
        batches = iter(tf.data.Dataset.from_tensors(images).repeat())
        return warmed(lambda: gan.train_function(batches), warm)

    return prepare


def loop(step):
    """A step of tapes and optimizers as one graph."""

    def make(networks):
        def prepare(images, warm=True):
            generator, discriminator, latent_dim = networks()
            pair = optimizer(), optimizer()
            for player, network in zip(pair, (generator, discriminator), strict=True):
                player.build(network.trainable_variables)
            seeds = keras.random.SeedGenerator(SEED)
            images = tf.constant(images)

            def noise():
                return keras.random.normal((len(images), latent_dim), seed=seeds)

            graph = tf.function(lambda: step(generator, discriminator, *pair, images, noise))
            return warmed(graph, warm)

        return prepare

    return make


@loop
def two_passes(generator, discriminator, g_optimizer, d_optimizer, images, noise):
    """Each tape around forward passes of its own."""
    latent = noise()
    with tf.GradientTape() as d_tape:
        real = discriminator(images, training=True)
        fake = discriminator(generator(latent, training=True), training=True)
        d_loss = d_pays(real, fake)
    with tf.GradientTape() as g_tape:
        g_loss = g_pays(discriminator(generator(latent, training=True), training=True))
    d_gradients = d_tape.gradient(d_loss, discriminator.trainable_variables)
    g_gradients = g_tape.gradient(g_loss, generator.trainable_variables)
    d_optimizer.apply(d_gradients, discriminator.trainable_variables)
    g_optimizer.apply(g_gradients, generator.trainable_variables)


@loop
def alternating(generator, discriminator, g_optimizer, d_optimizer, images, noise):
    """The discriminator, then the generator against what it has become."""
    fake = generator(noise(), training=True)
    with tf.GradientTape() as tape:
        real, fake = (discriminator(x, training=True) for x in (images, fake))
        loss = d_pays(real, fake)
    gradients = tape.gradient(loss, discriminator.trainable_variables)
    d_optimizer.apply(gradients, discriminator.trainable_variables)
    with tf.GradientTape() as tape:
        loss = g_pays(discriminator(generator(noise(), training=True), training=True))
    gradients = tape.gradient(loss, generator.trainable_variables)
    g_optimizer.apply(gradients, generator.trainable_variables)


@loop
def shared_fakes(generator, discriminator, g_optimizer, d_optimizer, images, noise):
    """Both tapes around one pass of the generator and two of the discriminator."""
    with tf.GradientTape() as g_tape, tf.GradientTape() as d_tape:
        made = generator(noise(), training=True)
        real, fake = (discriminator(x, training=True) for x in (images, made))
        d_loss, g_loss = d_pays(real, fake), g_pays(fake)
    d_gradients = d_tape.gradient(d_loss, discriminator.trainable_variables)
    g_gradients = g_tape.gradient(g_loss, generator.trainable_variables)
    d_optimizer.apply(d_gradients, discriminator.trainable_variables)
    g_optimizer.apply(g_gradients, generator.trainable_variables)


def d_pays(real, fake):
    """LSGAN."""
    return tf.reduce_mean((real - 1) ** 2) / 2 + tf.reduce_mean(fake**2) / 2


def g_pays(fake):
    """LSGAN."""
    return tf.reduce_mean((fake - 1) ** 2) / 2


def optimizer():
    """That of DCGAN."""
    return keras.optimizers.Adam(2e-4, beta_1=0.5)


def warmed(step, warm):
    """The step, after the calls in which it is traced and memory is found."""
    for _ in range(3 if warm else 0):
        step()
    return step


def small():
    """Those of the example for WGAN-GP, without labels."""
    networks = example.generator(SHAPE, 0), example.discriminator(SHAPE, 0, "wasserstein")
    return *networks, example.LATENT_DIM


def spectral():
    """Those of the example for the other losses, the discriminator under spectral norms."""
    networks = example.generator(SHAPE, 0), example.discriminator(SHAPE, 0, "lsgan")
    return *networks, example.LATENT_DIM


def large():
    """DCGAN for 28x28 images with 2.3 million weights, as tutorials have it."""
    up = {"padding": "same", "use_bias": False}
    generator = [keras.Input((100,)), layers.Dense(7 * 7 * 256, use_bias=False)]
    generator += [layers.BatchNormalization(), layers.LeakyReLU(), layers.Reshape((7, 7, 256))]
    for filters, strides in ((128, 1), (64, 2)):
        generator.append(layers.Conv2DTranspose(filters, 5, strides=strides, **up))
        generator += [layers.BatchNormalization(), layers.LeakyReLU()]
    generator.append(layers.Conv2DTranspose(1, 5, strides=2, activation="tanh", **up))
    discriminator = [keras.Input(SHAPE)]
    for filters in (64, 128):
        discriminator.append(layers.Conv2D(filters, 5, strides=2, padding="same"))
        discriminator.append(layers.LeakyReLU())
    discriminator += [layers.Flatten(), layers.Dense(1)]
    return keras.Sequential(generator), keras.Sequential(discriminator), 100


NETWORKS = {"small": small, "spectral": spectral, "large": large}
STEPS = {
    "GAN": fitted,
    "two passes": two_passes,
    "alternating": alternating,
    "shared fakes": shared_fakes,
}


if __name__ == "__main__":
    main()

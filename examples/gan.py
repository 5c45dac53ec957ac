"""Handwritten digits on demand: a generator and a discriminator, one compile, one fit.

Both networks are told which digit it is; with `--unconditional` they are not. Draws samples as it
trains, measures how far they are from real digits in the features of a classifier, saves the game
and loads it again. Takes the data that examples/mnist.py finds: MNIST, or the digits that come with
scikit-learn. Needs `pip install "keras-duo[examples]"`.
"""

import argparse
import os
import time
from pathlib import Path

import keras
import matplotlib
import numpy as np
from keras import layers
from mnist import load

import keras_duo as duo

matplotlib.use("Agg")
import matplotlib.pyplot as plt

LATENT_DIM, CLASSES, BATCH = 64, 10, 32
# Each loss with the rules that belong to it.
GAMES = {
    "lsgan": {"loss": duo.LSGAN()},
    "wasserstein": {"loss": duo.Wasserstein(), "gradient_penalty": 10.0},
    "hinge": {"loss": duo.HingeGAN()},
    "nonsaturating": {"loss": duo.NonSaturating()},
    "bce": {"loss": keras.losses.BinaryCrossentropy(from_logits=True)},
}


def main():
    """Load, train the classifier and the game, measure, draw, save, reload."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--loss", choices=GAMES, default="lsgan")
    parser.add_argument("--unconditional", action="store_true", help="without labels")
    parser.add_argument("--epochs", type=int, help="default: 5, or 100 on the bundled digits")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", choices=["auto", "mnist", "digits"], default="auto")
    parser.add_argument(
        "--data-dir", default=os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    )
    parser.add_argument("--out", type=Path, default=Path("out/gan"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    source, (x, y), (x_test, y_test) = load(args.data, Path(args.data_dir).expanduser())
    x, x_test = images(x), images(x_test)
    few = len(x) < 10_000
    epochs = args.epochs or (100 if few else 5)
    print(f"Data: {source}, {len(x)} training and {len(x_test)} test images")
    keras.utils.set_random_seed(args.seed)

    print("\nThe classifier that measures")
    judge_epochs = min(epochs, 40) if few else 6
    judge = classifier(x.shape[1:], steps=judge_epochs * (len(x) // 128))
    judge.fit(x, y, batch_size=128, epochs=judge_epochs, verbose=2)
    accuracy = judge.evaluate(x_test, y_test, verbose=0)[1]
    print(f"Test accuracy: {100 * accuracy:.2f} %")

    print(f"\nThe game: {args.loss}")
    classes = 0 if args.unconditional else CLASSES
    gan = duo.GAN(
        generator(x.shape[1:], classes),
        discriminator(x.shape[1:], classes, args.loss),
        LATENT_DIM,
        seed=args.seed,
    )
    gan.compile(
        generator_optimizer=falling_adam(1e-3, epochs * len(x) // BATCH),
        discriminator_optimizer=falling_adam(3e-4, epochs * len(x) // BATCH),
        ema=0.999,
        **GAMES[args.loss],
    )
    labels = y.argmax(-1) if classes else None
    digits = range(CLASSES) if classes else None  # one for each column
    grid = duo.ImageGrid(args.out, columns=10, labels=digits, every=max(1, epochs // 20))
    start = time.perf_counter()
    history = gan.fit(x, labels, batch_size=BATCH, epochs=epochs, callbacks=[grid]).history
    print(f"Training: {time.perf_counter() - start:.0f} s")

    count = len(x_test) if few else 10_000
    wanted = labels[:count] if classes else None
    fakes = gan.generate(count, labels=wanted, seed=args.seed)
    noise = np.random.default_rng(args.seed).uniform(-1, 1, fakes.shape)
    kinds = {"noise": noise, "generated": fakes, "real (training)": x[: len(fakes)]}
    print(f"\n{len(fakes)} images against {len(x_test)} real test images:")
    print(f"{'':16}{'Frechet distance':>18}{'confidence':>12}")
    features = keras.Model(judge.inputs, judge.layers[-2].output)
    for kind, shown in kinds.items():
        frechet = duo.FrechetDistance(features)
        frechet.update_state(x_test, shown)
        confidence = judge.predict(shown, batch_size=500, verbose=0).max(-1).mean()
        print(f"{kind:16}{float(frechet.result()):>18.2f}{100 * confidence:>10.1f} %")

    gan.save(args.out / "gan.keras")
    again = keras.saving.load_model(args.out / "gan.keras")
    pair = (game.generate(10, labels=digits, seed=1) for game in (gan, again))
    if not np.array_equal(*pair):
        raise SystemExit("The reloaded model differs from the saved one.")
    print("\nSaved, reloaded, and the same images for the same seed")
    draw(history, args.out)
    print(f"Pictures, samples.gif and model: {args.out}")


def generator(shape, classes):
    """From latent vectors, and labels if there are classes, to images in [-1, 1]."""
    side = shape[0] // 4
    up = {"strides": 2, "padding": "same"}
    latent, label = keras.Input((LATENT_DIM,)), keras.Input((), dtype="int32")
    x = layers.Concatenate()([latent, one_hot(label, classes)]) if classes else latent
    for layer in (
        layers.Dense(side * side * 64, use_bias=False),
        layers.Reshape((side, side, 64)),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Conv2DTranspose(32, 4, use_bias=False, **up),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Conv2DTranspose(1, 4, activation="tanh", **up),
    ):
        x = layer(x)
    return keras.Model([latent, label] if classes else latent, x, name="generator")


def discriminator(shape, classes, loss):
    """Scores of images, by a head for each label; weights of spectral norm 1.

    Under `wasserstein` the penalty bounds the slope, and no weight is bounded.
    """
    bounded = (lambda layer: layer) if loss == "wasserstein" else layers.SpectralNormalization
    image, label = keras.Input(shape), keras.Input((), dtype="int32")
    x = image
    for layer in (
        bounded(layers.Conv2D(32, 4, strides=2, padding="same")),
        layers.LeakyReLU(0.2),
        bounded(layers.Conv2D(64, 4, strides=2, padding="same")),
        layers.LeakyReLU(0.2),
        layers.Flatten(),
        bounded(layers.Dense(max(classes, 1))),
    ):
        x = layer(x)
    score = layers.Dot(1)([x, one_hot(label, classes)]) if classes else x
    return keras.Model([image, label] if classes else image, score, name="discriminator")


def one_hot(label, classes):
    """A tensor of 0 and 1 for integers."""
    return layers.CategoryEncoding(classes, output_mode="one_hot")(label)


def falling_adam(rate, steps):
    """Adam with the momentum of DCGAN and a rate that falls to a twentieth."""
    schedule = keras.optimizers.schedules.PolynomialDecay(rate, steps, rate / 20)
    return keras.optimizers.Adam(schedule, beta_1=0.5)


def classifier(shape, steps):
    """A small convolutional classifier; its last hidden layer gives 64 features."""
    model = keras.Sequential(
        [
            keras.Input(shape),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ],
        name="classifier",
    )
    rate = keras.optimizers.schedules.CosineDecay(2e-3, steps)
    loss = keras.losses.CategoricalCrossentropy()
    model.compile(keras.optimizers.Adam(rate), loss=loss, metrics=["accuracy"])
    return model


def images(flat):
    """Rows of pixels in [0, 1] as square images in [-1, 1]."""
    side = int(flat.shape[1] ** 0.5)
    return 2 * flat.reshape(-1, side, side, 1) - 1


def draw(history, folder):
    """Losses and scores of both players as a PNG."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    epochs = np.arange(1, len(history["generator_loss"]) + 1)
    for axis, label in zip(axes, ("loss", "score"), strict=True):
        for name in sorted(key for key in history if key.endswith(label)):
            axis.plot(epochs, history[name], label=name.replace("_", " "))
        axis.set(xlabel="epoch", ylabel=label, title=f"{label.capitalize()} of both players")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.legend()
    figure.savefig(folder / "curves.png", dpi=120)


if __name__ == "__main__":
    main()

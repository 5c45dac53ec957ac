"""A loss that is learned: handwritten digits of which many have a wrong label.

A MetaLearner sees noisy training labels and noisy held-out labels, and is not told how noisy. What
it finds is frozen into a LearnedLoss and trains the network of examples/mnist.py, beside
cross-entropy, the mean absolute error, and a network whose loss learns while it trains ("online").
Takes the data that examples/mnist.py finds: 10,000 images of MNIST, or the digits that come with
scikit-learn. Needs `pip install "keras-duo[examples]"`.
"""

import argparse
import os
from pathlib import Path

import keras
import matplotlib
import numpy as np
from mnist import load

import keras_duo as duo

matplotlib.use("Agg")
import matplotlib.pyplot as plt

ABSOLUTE_ERROR = duo.LearnedLoss(coefficients=[0, 0, 1, 0, 0, 0, 0], name="absolute_error")


def main():
    """For each share of wrong labels: learn a loss, train by it and by others, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0, 0.6])
    parser.add_argument("--data", choices=["auto", "mnist", "digits"], default="auto")
    parser.add_argument(
        "--data-dir", default=os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    )
    parser.add_argument("--out", type=Path, default=Path("out/meta_loss"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    source, train, test = load(args.data, Path(args.data_dir).expanduser())
    order = np.random.default_rng(args.seed).permutation(len(train[0]))[:10_000]
    x, clean = (part[order] for part in train)
    batch = 128 if len(x) > 5_000 else 32
    print(f"Data: {source}, {len(x)} training and {len(test[0])} test images")

    results, learners = {}, {}
    for noise in args.noise:
        y = with_wrong_labels(clean, noise, args.seed)
        print(f"\n{100 * noise:.0f} % of the labels are wrong. Learning a loss:")
        learners[noise] = learned(x, y, batch, args)
        loss = learners[noise].to_loss()
        print(loss)
        losses = {
            "cross-entropy": keras.losses.CategoricalCrossentropy(),
            "absolute error": ABSOLUTE_ERROR,
            "learned": loss,
        }
        results[noise] = {}
        for name, each in losses.items():
            keras.utils.set_random_seed(args.seed)
            model = network(x.shape[1])
            model.compile("adam", loss=each, metrics=["accuracy"])
            history = model.fit(
                x, y, batch_size=batch, epochs=args.epochs, validation_data=test, verbose=0
            ).history
            results[noise][name] = 100 * np.array(history["val_accuracy"])
        results[noise]["online"] = online(x, y, test, batch, args)
        for name, accuracy in results[noise].items():
            print(f"{name:16}{accuracy[-1]:6.1f} % of the test images right")

    model.save(args.out / "learned.keras")
    again = keras.saving.load_model(args.out / "learned.keras")
    print(f"\nSaved and reloaded with its loss: {again.loss}")
    draw(results, learners, args.out)
    print(f"Pictures and model: {args.out}")


def learned(x, y, batch, args):
    """A loss learned on four fifths of the images, with the others held out."""
    held_out = len(x) // 5
    learner = duo.MetaLearner()
    learner.learn(
        lambda: network(x.shape[1]),
        train_data=(x[held_out:], y[held_out:]),
        validation_data=(x[:held_out], y[:held_out]),
        inner_optimizer="adam",
        steps=args.epochs * ((len(x) - held_out) // batch),
        batch_size=batch,
        seed=args.seed,
    )
    return learner


def online(x, y, test, batch, args):
    """Test accuracy in % after each epoch of a network whose loss learns with it."""
    held_out = len(x) // 5
    keras.utils.set_random_seed(args.seed)
    meta = duo.MetaModel(
        network(x.shape[1]), duo.MetaLearner(), (x[:held_out], y[:held_out]), seed=args.seed
    )
    meta.compile("adam", metrics=["accuracy"])
    data = {"x": x[held_out:], "y": y[held_out:], "validation_data": test}
    history = meta.fit(**data, batch_size=batch, epochs=args.epochs, verbose=0).history
    return 100 * np.array(history["val_accuracy"])


def network(features):
    """The reference network: 512 and 256 relu units, and softmax."""
    layers = [keras.layers.Dense(512, "relu"), keras.layers.Dense(256, "relu")]
    head = keras.layers.Dense(10, activation="softmax")
    return keras.Sequential([keras.Input((features,)), *layers, head])


def with_wrong_labels(y, share, seed):
    """One-hot labels of which this share is one of the other nine, each as likely."""
    random = np.random.default_rng(seed + 1)
    wrong = random.random(len(y)) < share
    ids = y.argmax(-1) + wrong * random.integers(1, 10, len(y))
    return keras.utils.to_categorical(ids % 10, 10)


def draw(results, learners, folder):
    """Test accuracy over the epochs, the path of the coefficients, and the losses themselves."""
    shape = {"squeeze": False, "layout": "constrained", "figsize": (5.5 * len(results), 7.5)}
    figure, axes = plt.subplots(2, len(results), **shape)
    for (noise, runs), top, bottom in zip(results.items(), axes[0], axes[1], strict=True):
        for name, accuracy in runs.items():
            top.plot(np.arange(1, len(accuracy) + 1), accuracy, marker="o", label=name)
        top.set(xlabel="epoch", ylabel="test accuracy in %")
        top.set(title=f"{100 * noise:.0f} % wrong labels")
        top.xaxis.get_major_locator().set_params(integer=True)
        top.legend()
        learning = [record for record in learners[noise].history if record["part"] == "learn"]
        steps = [0, *(record["step"] for record in learning)]
        # It starts as the cross-entropy.
        path = np.array([np.eye(7)[0], *(record["coefficients"] for record in learning)])
        terms = ["-log p", *(f"1 - p^{q:g}" for q in (0.5, 1, 2, 4, 8)), "(1 - p)^2"]
        bottom.stackplot(steps, path.T, labels=terms, colors=plt.cm.viridis(np.linspace(0, 1, 7)))
        bottom.set(xlabel="training step", ylabel="coefficient", ylim=(0, 1))
        bottom.legend(fontsize="small", ncols=2)
    figure.savefig(folder / "training.png", dpi=120)

    losses = {"cross-entropy": keras.losses.CategoricalCrossentropy(from_logits=True)}
    for noise, learner in learners.items():
        loss = learner.to_loss()
        losses[f"learned at {100 * noise:.0f} %"] = duo.LearnedLoss(
            coefficients=loss.coefficients, from_logits=True
        )
    duo.plots.loss_curve(losses).savefig(folder / "losses.png", dpi=120)


if __name__ == "__main__":
    main()

"""Two digits in one picture, and losses of different scales: MultiTask finds the weights.

One network reads the left and the right one of two overlapping digits. The loss of the right one is
scaled by 0.01, as losses in other units are: equal weights then forget that digit. Takes the digits
that examples/mnist.py finds. Needs `pip install "keras-duo[examples]"`.
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

TASKS = ("left", "right")


def main():
    """Train with equal weights and with the default, compare, save, reload, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=0.01, help="of the loss of the right digit")
    parser.add_argument("--weightings", nargs="+", default=["fixed", "inverse"])
    parser.add_argument("--data", choices=["auto", "mnist", "digits"], default="auto")
    parser.add_argument(
        "--data-dir", default=os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    )
    parser.add_argument("--out", type=Path, default=Path("out/multi_task"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    source, train, test = load(args.data, Path(args.data_dir).expanduser())
    (x_train, y_train), (x_test, y_test) = (
        overlapping(*data, seed) for data, seed in ((train, 0), (test, 1))
    )
    print(f"Data: {source}, two in a picture: {len(x_train)} for training, {len(x_test)} for test")
    results = {}
    for weighting in args.weightings:
        print(f"\n{weighting}")
        keras.utils.set_random_seed(args.seed)
        model = compiled(network(x_train.shape[1:]), weighting)
        monitor = duo.TaskMonitor(every=max(1, len(x_train) // 128 // 20))
        model.fit(
            x_train,
            y_train,
            sample_weight=scaled(y_train, args.scale),
            batch_size=128,
            epochs=args.epochs,
            callbacks=[monitor],
        )
        scores = model.evaluate(x_test, y_test, batch_size=500, verbose=0, return_dict=True)
        results[weighting] = model, monitor, [100 * scores[f"{task}_accuracy"] for task in TASKS]

    print(f"\n{'accuracy, %':14}{'left':>8}{'right':>8}{'mean':>8}")
    for weighting, (_, _, (left, right)) in results.items():
        print(f"{weighting:14}{left:8.1f}{right:8.1f}{(left + right) / 2:8.1f}")

    model, monitor, _ = results[args.weightings[-1]]
    model.save(args.out / "multi_task.keras")
    again = keras.saving.load_model(args.out / "multi_task.keras")
    # The plain network, for inference.
    outputs, reloaded = (m.model.predict(x_test, batch_size=500, verbose=0) for m in (model, again))
    if any((outputs[task] != reloaded[task]).any() for task in TASKS):
        raise SystemExit("The reloaded model differs from the saved one.")
    print("Saved and reloaded: the same outputs")
    duo.plots.task_weights(monitor).savefig(args.out / "weights.png", dpi=120)
    draw(x_test, y_test, outputs, args.out / "pictures.png")
    print(f"Pictures and model: {args.out}")


def overlapping(images, labels, seed):
    """Each image at the upper left, and another one over it at the lower right."""
    side = round(images.shape[1] ** 0.5)
    shift = round(side * 2 / 7)  # 8 of 28 pixels: a picture of 36 x 36, as in Sener and Koltun
    canvas = np.zeros((len(images), side + shift, side + shift, 1), "float32")
    others = np.random.default_rng(seed).permutation(len(images))
    first = images.reshape(-1, side, side, 1)
    canvas[:, :side, :side] = first
    canvas[:, shift:, shift:] = np.maximum(canvas[:, shift:, shift:], first[others])
    return canvas, {"left": labels, "right": labels[others]}


def network(shape):
    """A convolutional trunk, and a head for each digit."""
    entry = keras.Input(shape)
    x = keras.layers.Conv2D(16, 5, 2, activation="relu")(entry)
    x = keras.layers.Conv2D(32, 3, 2, padding="same", activation="relu")(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(128, "relu", name="trunk")(x)
    outputs = {}
    for task in TASKS:
        hidden = keras.layers.Dense(64, "relu")(x)
        outputs[task] = keras.layers.Dense(10, "softmax", name=task)(hidden)
    return keras.Model(entry, outputs)


def scaled(labels, scale):
    """Sample weights under which the loss of the right digit is in other units."""
    ones = np.ones(len(labels["left"]), "float32")
    return {"left": ones, "right": scale * ones}


def compiled(model, weighting, **options):
    """The network under a method that finds the weights."""
    multi_task = duo.MultiTask(model)
    multi_task.compile(
        keras.optimizers.Adam(),
        loss=keras.losses.CategoricalCrossentropy(),
        weighting=weighting,
        metrics={task: ["accuracy"] for task in TASKS},
        **options,
    )
    return multi_task


def draw(images, labels, outputs, file):
    """Some test pictures: what was read, and in brackets what it is."""
    figure, axes = plt.subplots(3, 6, figsize=(10, 5.6), layout="constrained")
    for i, axis in enumerate(axes.flat):
        read, true = ([int(y[task][i].argmax()) for task in TASKS] for y in (outputs, labels))
        axis.imshow(images[i, ..., 0], cmap="Greys")
        color = "black" if read == true else "tab:red"
        axis.set_title(f"{read[0]} {read[1]}  ({true[0]} {true[1]})", color=color)
        axis.axis("off")
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main()

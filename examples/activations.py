"""Every activation in one network: what each reaches, costs and looks like once it has learned.

The network of examples/mnist.py, 784-512-256-10, with the same optimizer, batches and epochs; only
the activation of its two hidden layers differs. Takes the data that examples/mnist.py finds: MNIST,
or the digits that come with scikit-learn. Needs `pip install "keras-duo[examples]"`.
"""

import argparse
import os
import time
from pathlib import Path

import keras
import matplotlib
import mnist
import numpy as np

import keras_duo as duo

matplotlib.use("Agg")
import matplotlib.pyplot as plt

ACTIVATIONS = {
    "relu": keras.layers.ReLU,
    "gelu": lambda: keras.layers.Activation("gelu"),
    "silu": lambda: keras.layers.Activation("silu"),
    "PReLU": keras.layers.PReLU,
    "LearnableActivation()": duo.LearnableActivation,
    "LearnableActivation(axis=-1)": lambda: duo.LearnableActivation(axis=-1),
    "Swish()": duo.Swish,
    "Swish(axis=-1)": lambda: duo.Swish(axis=-1),
    "Acon()": duo.Acon,
    "MetaAcon()": duo.MetaAcon,
    "Rational()": duo.Rational,
    "Rational(axis=-1)": lambda: duo.Rational(axis=-1),
    "Snake()": duo.Snake,
    "DynamicReLU()": duo.DynamicReLU,
    "AttentionActivation()": duo.AttentionActivation,
}


def main():
    """Time the steps, train over the seeds, print the table, draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=5, help="how many, counted from --seed")
    parser.add_argument("--rounds", type=int, default=20, help="of measuring the steps")
    parser.add_argument("--only", nargs="*", choices=ACTIVATIONS, default=list(ACTIVATIONS))
    parser.add_argument("--data", choices=["auto", "mnist", "digits"], default="auto")
    parser.add_argument(
        "--data-dir", default=os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    )
    parser.add_argument("--out", type=Path, default=Path("out/activations"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    source, train, test = mnist.load(args.data, Path(args.data_dir).expanduser())
    print(f"Data: {source}, {len(train[0])} training and {len(test[0])} test images")
    models = {name: network(ACTIVATIONS[name], train[0].shape[1]) for name in args.only}
    seconds = step_times(models, train[0][:128], train[1][:128], args.rounds)
    errors, learned = {name: [] for name in args.only}, {}
    progress = keras.utils.Progbar(args.seeds * len(args.only), unit_name="training")
    for seed in range(args.seed, args.seed + args.seeds):
        for name in args.only:
            keras.utils.set_random_seed(seed)
            model = network(ACTIVATIONS[name], train[0].shape[1])
            model.fit(*train, batch_size=128, epochs=args.epochs, verbose=0)
            accuracy = model.evaluate(*test, batch_size=1000, verbose=0)[1]
            errors[name].append(100 * (1 - accuracy))
            learned.setdefault(name, model)
            progress.add(1, [("error in %", errors[name][-1])])

    first, smallest = args.only[0], min(model.count_params() for model in models.values())
    print(f"\nMean ± standard deviation over {args.seeds} seed(s)")
    print(f"{'':30}{'test error in %':>16}{'step / ' + first:>14}{'parameters added':>18}")
    for name, model in models.items():
        score = f"{np.mean(errors[name]):.2f} ± {np.std(errors[name]):.2f}"
        step, added = seconds[name] / seconds[first], model.count_params() - smallest
        print(f"{name:30}{score:>16}{step:>14.2f}{added:>18,}")
    draw(learned, test[0][:1000], args.out / "learned.png")
    print(f"Picture: {args.out / 'learned.png'}")


def network(activation, features):
    """The reference network of examples/mnist.py with this activation in its hidden layers."""
    hidden = [keras.layers.Dense(512), activation(), keras.layers.Dense(256), activation()]
    return mnist.compiled(features, hidden, keras.losses.CategoricalCrossentropy())


def step_times(models, x, y, rounds, steps=5):
    """Median seconds of a training step of each model, taken in turns."""
    times = {name: [] for name in models}
    for _ in range(rounds + 1):
        for name, model in models.items():
            model.train_on_batch(x, y)  # the caches are its own from here on
            start = time.perf_counter()
            for _ in range(steps):
                model.train_on_batch(x, y)
            times[name].append((time.perf_counter() - start) / steps)
    return {name: np.median(found[1:]) for name, found in times.items()}  # the first one traces


def draw(models, x, path):
    """What the first activation of each model makes of its input: five units, `x` going through."""
    columns = 5
    rows = -(-len(models) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(3 * columns, 2.6 * rows), layout="constrained", squeeze=False
    )
    for axis in axes.flat[len(models) :]:
        axis.remove()
    for axis, (name, model) in zip(axes.flat, models.items(), strict=False):
        before = model.layers[0](x)
        after = keras.ops.convert_to_numpy(model.layers[1](before))
        before = keras.ops.convert_to_numpy(before)
        for unit in np.linspace(0, before.shape[1] - 1, 5, dtype=int):
            axis.plot(before[:, unit], after[:, unit], ".", markersize=2, alpha=0.6)
        axis.axline((0, 0), slope=1, color="gray", linewidth=0.5)
        axis.set(title=name, xlabel="input of a unit", ylabel="output")
    figure.suptitle("First hidden layer after training, five of its units, one colour each")
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()

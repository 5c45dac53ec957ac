"""What a learned loss is worth: label noise on MNIST, transfer, outliers in a regression, cost.

    TFDS_DATA_DIR=... python benchmarks/meta_loss.py                   # all parts
    TFDS_DATA_DIR=... python benchmarks/meta_loss.py --parts variants  # how defaults were chosen

Network and budget are those of examples/mnist.py: 784-512-256-10, Adam, batch 128, 10 epochs, here
on 10,000 images of which a share has one of the nine wrong labels. Accuracy is that of the clean
test images at the end of training. The learned loss sees 8,000 of the noisy examples and, held out,
the other 2,000; then it trains a new network on all 10,000, as the other losses do. "Online" is the
network that a MetaModel trains on the 8,000. Variants were compared by the accuracy on 2,000 more
noisy labels, with seeds that no table uses.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.model_selection import KFold

import keras_duo as duo

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import mnist

IMAGES, HELD_OUT, BATCH = 10_000, 2_000, 128
VARIANTS_FROM = 100  # the first of the seeds that variants are compared on
FIXED = {
    "cross-entropy": keras.losses.CategoricalCrossentropy,
    "MAE": keras.losses.MeanAbsoluteError,
    "GCE (q=0.7)": lambda: generalized_cross_entropy,
    "symmetric CE": duo.SymmetricCrossEntropy,
}
VARIANTS = {
    "alignment": {},
    "alignment, rate 0.03": {"learning_rate": 0.03},
    "alignment, rate 0.3": {"learning_rate": 0.3},
    "alignment, interval 4": {"interval": 4},
    "lookahead": {"method": "lookahead"},
    "taylor": {"form": "taylor"},
    "network": {"form": "network"},
}
NUMBERS = {
    "MSE": keras.losses.MeanSquaredError,
    "MAE": keras.losses.MeanAbsoluteError,
    "Huber": keras.losses.Huber,
}


def main():
    """Run the parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = ["table", "transfer", "regression", "variants"]
    parser.add_argument("--parts", nargs="+", choices=names, default=names[:3])
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0, 0.4, 0.6])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    losses = [*FIXED, "learned", "online"]
    parser.add_argument("--losses", nargs="+", choices=losses, default=losses, help="of the table")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    data_dir = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    parser.add_argument("--data-dir", type=Path, default=data_dir)
    args = parser.parse_args()
    if args.parts != ["regression"]:
        source, train, test = mnist.load("auto", args.data_dir.expanduser())
        print(f"Data: {source}", flush=True)
    for part in args.parts:
        print(f"\n{part}", flush=True)
        if part == "regression":
            regression(args)
        else:
            {"table": table, "transfer": transfer, "variants": variants}[part](args, train, test)


def table(args, train, test):
    """Test accuracy of each loss at each level of noise, and the cost of learning."""
    ratios = {"learned": [], "online": []}
    for noise in args.noise:
        found = {name: [] for name in args.losses}
        for seed in seeds(args):
            x, y, _ = noisy(train, noise, seed)
            times, usual = {}, float("nan")
            for name in args.losses:
                if name == "online":
                    accuracy, times[name] = online(x, y, test, args.epochs, seed)
                else:
                    loss = FIXED[name]() if name in FIXED else None
                    if loss is None:
                        loss, times[name] = learned(x, y, args.epochs, seed)
                        print(f"  noise {noise} seed {seed}: {loss}", flush=True)
                    accuracy, usual = trained(dense, loss, x, y, test, args.epochs, seed)
                found[name].append(accuracy)
            for name, seconds in times.items():
                ratios[name].append(seconds / usual)
        for name, accuracies in found.items():
            report(f"{100 * noise:.0f} %  {name}", accuracies)
    for name, each in ratios.items():
        if each:
            print(f"{name}: {np.median(each):.2f} of one training (median of {len(each)})")


def transfer(args, train, test):
    """A loss learned on the dense network, on a convolutional one and on another draw of all."""
    for noise in args.noise:
        found = {}
        for seed in seeds(args):
            x, y, _ = noisy(train, noise, seed)
            loss, _ = learned(x, y, args.epochs, seed)
            losses = {name: FIXED[name]() for name in ("cross-entropy", "MAE")}
            for name, each in {**losses, "learned": loss}.items():
                accuracy, _ = trained(convolutional, each, x, y, test, args.epochs, seed)
                found.setdefault(f"convolutional, {name}", []).append(accuracy)
                other = seed + 50
                x_other, y_other, _ = noisy(train, noise, other)
                accuracy, _ = trained(dense, each, x_other, y_other, test, args.epochs, other)
                found.setdefault(f"other seed, {name}", []).append(accuracy)
        for name, accuracies in sorted(found.items()):
            report(f"{100 * noise:.0f} %  {name}", accuracies)


def variants(args, train, test):
    """Accuracy on further noisy labels, of networks trained by what each variant learned."""
    for noise in args.noise:
        for name in args.only:
            found, times = [], []
            for seed in range(VARIANTS_FROM, VARIANTS_FROM + args.seeds):
                x, y, further = noisy(train, noise, seed)
                loss, seconds = learned(x, y, args.epochs, seed, **VARIANTS[name])
                found.append(trained(dense, loss, x, y, further, args.epochs, seed)[0])
                times.append(seconds)
                print(f"  {seed}: {loss}", flush=True)
            report(f"{100 * noise:.0f} %  {name} ({np.mean(times):.0f} s)", found)


def regression(args):
    """Mean absolute and root mean square error on clean targets, 10-fold, per share of outliers."""
    x, y = load_diabetes(return_X_y=True)
    x, y = x / x.std(axis=0), ((y - y.mean()) / y.std())[:, None]
    for share in (0.0, 0.1, 0.2):
        errors = {}
        for seed in seeds(args):
            random = np.random.default_rng(seed)
            outlying = y + 8 * (random.random(y.shape) < share)
            for fold, (fit, test) in enumerate(KFold(10, shuffle=True, random_state=seed).split(x)):
                held_out = len(fit) // 5
                learner = duo.MetaLearner(task="regression")
                learner.learn(
                    regressor,
                    (x[fit[held_out:]], outlying[fit[held_out:]]),
                    (x[fit[:held_out]], outlying[fit[:held_out]]),
                    steps=50 * (len(fit) // 32),
                    batch_size=32,
                    seed=10 * seed + fold,
                    verbose=0,
                )
                losses = {name: make() for name, make in NUMBERS.items()}
                for name, loss in {**losses, "learned": learner.to_loss()}.items():
                    keras.utils.set_random_seed(10 * seed + fold)
                    model = regressor()
                    model.compile("adam", loss=loss)
                    model.fit(x[fit], outlying[fit], batch_size=32, epochs=50, verbose=0)
                    error = keras.ops.convert_to_numpy(model(x[test])) - y[test]
                    pair = np.abs(error).mean(), np.sqrt((error**2).mean())
                    errors.setdefault(name, []).append(pair)
            print(f"  share {share} seed {seed}: {learner.to_loss()}", flush=True)
        for name, found in errors.items():
            for kind, values in zip(("MAE", "RMSE"), np.transpose(found), strict=True):
                report(f"{100 * share:.0f} % outliers  {name}, {kind}", values, digits=3)


def learned(x, y, epochs, seed, **arguments):
    """A loss learned from noisy examples alone, and the seconds that it took."""
    learner = duo.MetaLearner(**arguments)
    start = time.perf_counter()
    learner.learn(
        lambda: dense(x.shape[1]),
        (x[HELD_OUT:], y[HELD_OUT:]),
        (x[:HELD_OUT], y[:HELD_OUT]),
        steps=epochs * ((len(x) - HELD_OUT) // BATCH),
        batch_size=BATCH,
        seed=seed,
        verbose=0,
    )
    return learner.to_loss(), time.perf_counter() - start


def online(x, y, test, epochs, seed):
    """Test accuracy in % of a network whose loss learned while it trained, and the seconds."""
    keras.utils.set_random_seed(seed)
    meta = duo.MetaModel(
        dense(x.shape[1]), duo.MetaLearner(), held_out=(x[:HELD_OUT], y[:HELD_OUT]), seed=seed
    )
    meta.compile(keras.optimizers.Adam())
    start = time.perf_counter()
    meta.fit(x[HELD_OUT:], y[HELD_OUT:], batch_size=BATCH, epochs=epochs, verbose=0)
    seconds = time.perf_counter() - start
    return accuracy_of(meta.model, test), seconds


def trained(build, loss, x, y, test, epochs, seed):
    """Test accuracy in % at the end of training, and the seconds that training took."""
    keras.utils.set_random_seed(seed)
    model = build(x.shape[1])
    model.compile(keras.optimizers.Adam(), loss=loss)
    start = time.perf_counter()
    model.fit(x, y, batch_size=BATCH, epochs=epochs, verbose=0)
    seconds = time.perf_counter() - start
    return accuracy_of(model, test), seconds


def accuracy_of(model, test):
    """In %."""
    right = model.predict(test[0], batch_size=1000, verbose=0).argmax(-1) == test[1].argmax(-1)
    return 100 * right.mean()


def noisy(train, noise, seed):
    """10,000 images with noisy labels, and 2,000 more."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(train[0]))[: IMAGES + HELD_OUT]
    x, ids = train[0][order], train[1][order].argmax(-1)
    wrong = random.random(len(ids)) < noise
    y = np.eye(10, dtype="float32")[(ids + wrong * random.integers(1, 10, len(ids))) % 10]
    return x[:IMAGES], y[:IMAGES], (x[IMAGES:], y[IMAGES:])


def dense(features):
    """The network of examples/mnist.py."""
    layers = [keras.layers.Dense(512, "relu"), keras.layers.Dense(256, "relu")]
    head = keras.layers.Dense(10, activation="softmax")
    return keras.Sequential([keras.Input((features,)), *layers, head])


def convolutional(features):
    """A small convolutional network."""
    side = round(features**0.5)
    layers = [
        keras.layers.Reshape((side, side, 1)),
        keras.layers.Conv2D(16, 5, 2, activation="relu"),
        keras.layers.Conv2D(32, 3, 2, activation="relu"),
        keras.layers.Flatten(),
        keras.layers.Dense(64, "relu"),
        keras.layers.Dense(10, activation="softmax"),
    ]
    return keras.Sequential([keras.Input((features,)), *layers])


def regressor():
    """10-32-1, relu."""
    layers = [keras.layers.Dense(32, "relu"), keras.layers.Dense(1)]
    return keras.Sequential([keras.Input((10,)), *layers])


def generalized_cross_entropy(y_true, y_pred):
    """(1 - p^q) / q with the q of Zhang and Sabuncu, 2018."""
    p = keras.ops.maximum(keras.ops.sum(y_true * y_pred, axis=-1), 1e-7)
    return (1 - p**0.7) / 0.7


def seeds(args):
    """The seeds of the tables."""
    return range(args.first_seed, args.first_seed + args.seeds)


def report(name, values, digits=1):
    """Mean, spread and, of a few, all values."""
    spread = np.std(values, ddof=1) if len(values) > 1 else float("nan")
    each = " ".join(f"{v:.{digits}f}" for v in values) if len(values) < 6 else ""
    print(f"{name:40}{np.mean(values):8.{digits}f} +- {spread:.{digits}f}   {each}", flush=True)


if __name__ == "__main__":
    main()

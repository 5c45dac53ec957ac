"""Rare positives and honest probabilities: what focal losses gain and lose, in figures.

Part one tells one digit from the rest where it is one image in a hundred; part two tells ten digits
apart after 1,000 training images. Takes the data that examples/mnist.py finds: MNIST, or the digits
that come with scikit-learn. Needs `pip install "keras-duo[examples]"`.
"""

import argparse
import os
from pathlib import Path

import keras
import matplotlib
import numpy as np
from mnist import load
from sklearn.metrics import average_precision_score, f1_score, log_loss, precision_recall_curve
from sklearn.model_selection import train_test_split

import keras_duo as duo

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# name: (loss, class weight of the positives). No gamma was searched for: most are the defaults.
BINARY = {
    "cross-entropy": (keras.losses.BinaryCrossentropy(), 1),
    "cross-entropy, weighted 100:1": (keras.losses.BinaryCrossentropy(), 100),
    "Focal(gamma=1)": (duo.Focal(gamma=1), 1),
    "Focal(gamma=2)": (duo.Focal(gamma=2), 1),
    "AsymmetricFocal()": (duo.AsymmetricFocal(), 1),
}
TEN = {
    "cross-entropy": keras.losses.CategoricalCrossentropy(),
    "smoothed labels, 0.1": keras.losses.CategoricalCrossentropy(label_smoothing=0.1),
    "CategoricalFocal(gamma=1)": duo.CategoricalFocal(gamma=1),
    "CategoricalFocal(gamma=2)": duo.CategoricalFocal(gamma=2),
}


def main():
    """Run both parts over the seeds, print their tables, draw the reliability diagrams."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the images drawn and the networks")
    parser.add_argument("--seeds", type=int, default=5, help="how many, counted from --seed")
    parser.add_argument("--digit", type=int, choices=range(10), default=8, help="the rare one")
    parser.add_argument("--data", choices=["auto", "mnist", "digits"], default="auto")
    parser.add_argument(
        "--data-dir", default=os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    )
    parser.add_argument("--out", type=Path, default=Path("out/imbalanced"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    source, train, test = load(args.data, Path(args.data_dir).expanduser())
    print(f"Data: {source}. Mean ± standard deviation over {args.seeds} seed(s).")
    rare, few = f"Digit {args.digit} against the rest, 1:100", "Ten digits, 1,000 training images"
    parts = ((rare, rare_digit, BINARY), (few, small_data, TEN))
    figure, axes = plt.subplots(1, 2, figsize=(12, 6), layout="constrained")
    for axis, (title, part, losses) in zip(axes, parts, strict=True):
        print(f"\n{title}")
        progress = keras.utils.Progbar(args.seeds * len(losses), unit_name="training")
        scores, judged = {}, {}
        for seed in range(args.seed, args.seed + args.seeds):
            for name, figures, points in part(train, test, args, seed, progress):
                scores.setdefault(name, []).append(figures)
                judged.setdefault(name, []).append(points)
        print_table(scores)
        draw(axis, title, judged)
    figure.savefig(args.out / "reliability.png", dpi=120)
    print(f"\nPicture: {args.out / 'reliability.png'}")


def rare_digit(train, test, args, seed, progress):
    """For each loss: its scores, and (probability, truth, weight) of the test images."""
    y = train[1][:, args.digit]
    rest, rare = np.flatnonzero(y == 0), np.flatnonzero(y == 1)
    rare = np.random.default_rng(seed).choice(rare, round(len(rest) / 100), replace=False)
    drawn = np.concatenate([rest, rare])
    # A fifth is held out for the threshold of F1.
    fit, held = train_test_split(drawn, test_size=0.2, random_state=seed, stratify=y[drawn])
    truth = test[1][:, args.digit]
    # All rare test images, each weighted down: 1:100 with less noise than a draw of some of them.
    weight = np.where(truth == 1, np.sum(truth == 0) / 100 / np.sum(truth), 1.0)
    for name, (loss, positive) in BINARY.items():
        model = trained(train[0][fit], y[fit], (128,), loss, args.epochs, seed, positive)
        progress.add(1)
        p = predicted(model, test[0])[:, 0]
        precision, recall, at = precision_recall_curve(y[held], predicted(model, train[0][held]))
        threshold = at[np.argmax((precision * recall / (precision + recall + 1e-12))[:-1])]
        figures = {
            "average precision": average_precision_score(truth, p, sample_weight=weight),
            "F1 at 0.5": f1_score(truth, p >= 0.5, sample_weight=weight),
            "F1, threshold held out": f1_score(truth, p >= threshold, sample_weight=weight),
            "NLL": log_loss(truth, p, sample_weight=weight),
            "ECE in %": 100 * calibration_error(p, truth, weight),
        }
        yield name, figures, (p, truth, weight)


def small_data(train, test, args, seed, progress):
    """The same for ten classes, where the probability is that of the predicted class."""

    def judged(name, p):
        p = p / p.sum(axis=1, keepdims=True)
        right, weight = p.argmax(axis=1) == test[1].argmax(axis=1), np.ones(len(p))
        figures = {
            "accuracy in %": 100 * right.mean(),
            "NLL": log_loss(test[1], p),
            "ECE in %": 100 * calibration_error(p.max(axis=1), right, weight),
        }
        return name, figures, (p.max(axis=1), right, weight)

    order = np.random.default_rng(seed).permutation(len(train[0]))
    fit, held = order[:1000], order[1000:2000]
    for name, loss in TEN.items():
        model = trained(train[0][fit], train[1][fit], (512, 256), loss, args.epochs, seed)
        progress.add(1)
        p = predicted(model, test[0])
        yield judged(name, p)
        if name == "cross-entropy":
            power = fitted_power(predicted(model, train[0][held]), train[1][held])
            yield judged("the same, temperature held out", p**power)
    yield judged("the same, mapped back", mapped_back(p, gamma=2))


def trained(x, y, hidden, loss, epochs, seed, positive=1):
    """A network with relu layers, after so many epochs of Adam."""
    keras.utils.set_random_seed(seed)
    head = keras.layers.Dense(1, "sigmoid") if y.ndim == 1 else keras.layers.Dense(10, "softmax")
    layers = [keras.layers.Dense(units, "relu") for units in hidden]
    model = keras.Sequential([keras.Input(x.shape[1:]), *layers, head])
    model.compile(keras.optimizers.Adam(), loss=loss)
    weights = {0: 1, 1: positive} if positive != 1 else None
    batch = 256 if len(x) > 10_000 else 32
    model.fit(x, y, batch_size=batch, epochs=epochs, class_weight=weights, verbose=0)
    return model


def predicted(model, x):
    """Outputs as float64, in one eager call: each `predict` of a new model would be compiled."""
    return keras.ops.convert_to_numpy(model(x)).astype("float64")


def calibration_error(p, truth, weight, bins=15):
    """Expected calibration error: |mean p - share true| of each bin, weighted by its share."""
    place = np.minimum((p * bins).astype(int), bins - 1)
    return np.abs(np.bincount(place, weight * (p - truth))).sum() / weight.sum()


def fitted_power(p, truth):
    """1 / temperature with the lowest NLL: p^(1 / T), normalised, is the softmax of logits / T."""
    powers = 1 / np.linspace(0.3, 4, 75)
    return min(powers, key=lambda k: log_loss(truth, p**k / np.sum(p**k, axis=1, keepdims=True)))


def mapped_back(p, gamma):
    """What the outputs of focal loss stand for: its minimiser is flatter than the probabilities.

    At the minimum, probability times slope of the loss is the same for all classes. Charoenphakdee
    et al., On Focal Loss for Class-Posterior Probability Estimation, 2021, arXiv:2011.09172.
    """
    p = np.clip(p, 1e-12, 1 - 1e-12)
    return 1 / ((1 - p) ** gamma / p - gamma * (1 - p) ** (gamma - 1) * np.log(p))


def print_table(scores):
    """A line for each loss, mean and spread over the seeds."""
    print(f"\n{'':32}" + "".join(f"{column:>24}" for column in next(iter(scores.values()))[0]))
    for name, runs in scores.items():
        values = np.array([list(figures.values()) for figures in runs])
        cells = zip(values.mean(axis=0), values.std(axis=0), strict=True)
        print(f"{name:32}" + "".join(f"{mean:>15.4f} ± {std:.4f}" for mean, std in cells))


def draw(axis, title, judged):
    """Reliability diagram over all seeds; bins with fewer than 30 images are left out."""
    axis.plot([0, 100], [0, 100], color="black", ls="--", lw=1, label="calibrated")
    for name, runs in judged.items():
        p, truth, weight = (np.concatenate(values) for values in zip(*runs, strict=True))
        place = np.minimum((p * 10).astype(int), 9)
        kept = np.bincount(place, minlength=10) >= 30
        total, x, y = (np.bincount(place, v * weight, 10)[kept] for v in (p**0, p, truth))
        axis.plot(100 * x / total, 100 * y / total, marker="o", ms=4, label=name)
    axis.set(title=title, xlabel="predicted probability in %", ylabel="share true in %")
    axis.legend(loc="best")


if __name__ == "__main__":
    main()

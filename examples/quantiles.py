"""Forecasts with their uncertainty: five quantiles that cannot cross, from a small network.

Compares QuantileHead and Quantile with scikit-learn's quantile regressors on real data: how far the
disease of 442 diabetes patients progressed in a year, from ten measurements. Everything is scored
by 10-fold cross-validation. Needs `pip install "keras-duo[examples]"`.
"""

import argparse
from functools import partial
from pathlib import Path

import keras
import matplotlib
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor
from sklearn.linear_model import QuantileRegressor
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler

import keras_duo as duo

matplotlib.use("Agg")
import matplotlib.pyplot as plt

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)  # the outer two bound the 90 % interval
OURS, LINEAR = "QuantileHead + Quantile", "QuantileRegressor"
DECAYS = (0.3, 1.0, 3.0)  # what --nested chooses from

BOOSTED = partial(GradientBoostingRegressor, loss="quantile", random_state=0)
BINNED = partial(HistGradientBoostingRegressor, loss="quantile", random_state=0)
# Each builds the regressor of one quantile. "tuned" is the best on the test folds of a few settings
# that we tried, so that the comparison favours it.
SCIKIT_LEARN = {
    LINEAR: lambda q: QuantileRegressor(quantile=q, alpha=0.01),
    "GradientBoosting": lambda q: BOOSTED(alpha=q),
    "GradientBoosting, tuned": lambda q: BOOSTED(
        alpha=q, learning_rate=0.05, min_samples_leaf=20, subsample=0.5, max_features=0.3
    ),
    "HistGradientBoosting": lambda q: BINNED(quantile=q),
    "HistGradientBoosting, tuned": lambda q: BINNED(
        quantile=q, learning_rate=0.05, max_depth=2, l2_regularization=10, max_features=0.3
    ),
}


def main():
    """Cross-validate every method, print the table, draw the fan chart."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0, help="of the folds and of the networks")
    parser.add_argument("--seeds", type=int, default=1, help="how many, counted from --seed")
    parser.add_argument(
        "--nested", action="store_true", help="choose the weight decay inside each training fold"
    )
    parser.add_argument("--out", type=Path, default=Path("out/quantiles"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    x, y = load_diabetes(return_X_y=True)
    print(f"Data: scikit-learn diabetes (bundled), {len(x)} rows, {x.shape[1]} features")
    print(f"Quantiles: {', '.join(map(str, QUANTILES))}; 10-fold cross-validation")
    progress = keras.utils.Progbar(10 * args.seeds, unit_name="fold")
    forecasts, scores, gains = {}, {}, []
    for seed in range(args.seed, args.seed + args.seeds):
        keras.utils.set_random_seed(seed)
        folds = list(KFold(10, shuffle=True, random_state=seed).split(x))
        forecasts = cross_validated(x, y, folds, args, progress)
        for name, forecast in forecasts.items():
            scores.setdefault(name, []).append(judged(y, forecast))
        gains += [
            judged(y[test], forecasts[LINEAR][test])[0] - judged(y[test], forecasts[OURS][test])[0]
            for _, test in folds
        ]

    print(f"\n{'':27}{'mean pinball':>18}{'90 % coverage, %':>18}{'rows crossing, %':>18}")
    for name, runs in scores.items():
        cells = zip(np.mean(runs, axis=0), np.std(runs, axis=0), strict=True)
        print(f"{name:27}" + "".join(f"{mean:11.2f} ± {spread:.2f}" for mean, spread in cells))
    print(f"Mean ± standard deviation over {args.seeds} seed(s), each with folds of its own.")
    print(
        f"Fold by fold, the pinball loss of {OURS} is lower than that of {LINEAR} by "
        f"{np.mean(gains):.2f} ± {np.std(gains):.2f}; lower in {np.sum(np.array(gains) > 0)} of "
        f"{len(gains)} folds."
    )
    draw(y, forecasts, args.out / "fan_chart.png")
    print(f"Picture: {args.out / 'fan_chart.png'}")


def cross_validated(x, y, folds, args, progress):
    """For each method, its forecasts for all rows, each by a model that has not seen the row."""
    forecasts = {name: np.empty((len(x), len(QUANTILES))) for name in (OURS, *SCIKIT_LEARN)}
    for train, test in folds:
        scaler = StandardScaler().fit(x[train])
        x_train, x_test = scaler.transform(x[train]), scaler.transform(x[test])
        decay = chosen_decay(x_train, y[train], args.epochs) if args.nested else 1.0
        forecasts[OURS][test] = network(x_train, y[train], x_test, args.epochs, decay)
        for name, regressor in SCIKIT_LEARN.items():
            for column, quantile in enumerate(QUANTILES):
                fitted = regressor(quantile).fit(x_train, y[train])
                forecasts[name][test, column] = fitted.predict(x_test)
        progress.add(1)
    return forecasts


def network(x_train, y_train, x_test, epochs, decay):
    """Quantiles for the test rows by one hidden layer of 32 units, trained on the others.

    With 400 rows it is the weight decay that decides how good the forecast is, more than width,
    step size or the number of epochs do.
    """
    mean, spread = y_train.mean(), y_train.std()
    model = keras.Sequential(
        [
            keras.Input((x_train.shape[1],)),
            keras.layers.Dense(32, "gelu"),
            keras.layers.Dropout(0.1),
            duo.QuantileHead(QUANTILES),
        ]
    )
    steps = epochs * -(-len(x_train) // 32)
    rate = keras.optimizers.schedules.CosineDecay(0.01, steps)
    model.compile(keras.optimizers.AdamW(rate, weight_decay=decay), loss=duo.Quantile(QUANTILES))
    model.fit(x_train, (y_train - mean) / spread, batch_size=32, epochs=epochs, verbose=0)
    return mean + spread * keras.ops.convert_to_numpy(model(x_test))


def chosen_decay(x, y, epochs):
    """The weight decay with the lowest pinball loss in a 3-fold cross-validation of its own."""
    inner = list(KFold(3, shuffle=True, random_state=0).split(x))
    losses = {
        decay: np.mean(
            [judged(y[b], network(x[a], y[a], x[b], epochs, decay))[0] for a, b in inner]
        )
        for decay in DECAYS
    }
    return min(losses, key=losses.get)


def judged(y, forecast):
    """Mean pinball loss, coverage by the outer two quantiles in %, rows out of order in %."""
    pinball, coverage = duo.PinballLoss(QUANTILES), duo.QuantileCoverage()
    pinball.update_state(y, forecast)
    coverage.update_state(y, forecast)
    crossing = np.any(np.diff(forecast, axis=1) < 0, axis=1)
    return float(pinball.result()), 100 * float(coverage.result()), 100 * crossing.mean()


def draw(y, forecasts, path):
    """Held-out forecasts in order of their median, and the calibration of every method."""
    figure, (fan, calibration) = plt.subplots(
        1, 2, figsize=(13, 5.5), width_ratios=(2, 1), layout="constrained"
    )
    order = np.argsort(forecasts[OURS][:, 2])
    rank, truth = np.arange(len(y)), y[order]
    low, lower, median, upper, high = forecasts[OURS][order].T
    fan.fill_between(rank, low, high, color="tab:blue", alpha=0.2, lw=0, label="5 to 95 %")
    fan.fill_between(rank, lower, upper, color="tab:blue", alpha=0.35, lw=0, label="25 to 75 %")
    fan.plot(rank, median, color="tab:blue", label="median")
    inside = (low <= truth) & (truth <= high)
    fan.plot(rank[inside], truth[inside], ".", color="black", ms=4, label="true, in 5 to 95 %")
    fan.plot(rank[~inside], truth[~inside], "x", color="tab:red", ms=5, label="true, outside")
    fan.set(xlabel="held-out patient, in order of the forecast median", xlim=(0, len(y)))
    fan.set(ylabel="disease progression after a year (score)", title=f"Forecasts of {OURS}")
    fan.legend(loc="upper left")
    nominal = 100 * np.array(QUANTILES)
    for name, forecast in forecasts.items():
        below = 100 * np.mean(y[:, None] <= forecast, axis=0)
        style = {"lw": 2.5, "marker": "o"} if name == OURS else {"lw": 1, "marker": "."}
        calibration.plot(nominal, below - nominal, label=name, **style)
    calibration.axhline(0, color="black", ls="--", lw=1, label="calibrated")
    calibration.set(xlabel="quantile in %", xticks=nominal, title="Calibration of all methods")
    calibration.set(ylabel="share of patients below it, minus the quantile (percentage points)")
    calibration.legend(fontsize="small")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()

"""The two-objective problem of CAGrad, FAMO and Nash-MTL: who reaches the Pareto front, and where.

    python benchmarks/toy_pareto.py --out out/toy_pareto

Five starts, 50,000 steps of Adam at 1e-3, the first objective scaled by 0.1 (Navon et al., 2022,
arXiv:2202.01017). A run has arrived if no point of the front is better in both losses by more than
1 % of their range. Imbalance is the difference of the two losses, each in units of its range on the
front: 0 in the middle of the front, 1 at an end.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import matplotlib
import numpy as np
import tensorflow as tf

from keras_duo.weightings._methods import METHODS
from keras_duo.weightings._random import hashed_draw

matplotlib.use("Agg")
import matplotlib.pyplot as plt

STARTS = np.array([[-8.5, 7.5], [0.0, 0.0], [9.0, 9.0], [-7.5, -0.5], [9.0, -1.0]])
SCALES = np.array([0.1, 1.0])
# What the losses cannot fall below.
LEAST = tuple(-20.0 * SCALES)
# Of FAMO those of its authors for this problem (github.com/Cranial-XIX/FAMO, experiments/toy).
OPTIONS = {
    "inverse": {"minimum": LEAST},
    "famo": {"minimum": tuple(-21.0 * SCALES), "decay": 0.0},
}
NAMES = [
    *("fixed", "inverse", "dwa", "famo"),
    *(
        "gradnorm",
        "mgda",
        "balanced",
        "pcgrad",
        "cagrad",
        "imtl_g",
        "aligned_mtl",
        "nash",
        "upgrad",
    ),
]
LOSSES_ALONE = ("fixed", "inverse", "dwa", "famo")


def objectives(x, y, m=tf):
    """The two losses at (x, y); `m` is tensorflow or numpy."""
    upper, lower = m.maximum(m.tanh(0.5 * y), 0.0), m.maximum(m.tanh(-0.5 * y), 0.0)
    log = m.math.log if m is tf else np.log
    ridges = (0.5 * (-x - 7) - m.tanh(-y), 0.5 * (-x + 3) + m.tanh(-y) + 2)
    above = [log(m.maximum(m.abs(ridge), 5e-6)) + 6 for ridge in ridges]
    below = [((-x + s) ** 2 + 0.1 * (-y - 8) ** 2) / 10 - 20 for s in (7, -7)]
    return [c * (upper * a + lower * b) for c, a, b in zip(SCALES, above, below, strict=True)]


def path(name, start, steps, every):
    """Where Adam goes, at each `every` steps."""
    method = METHODS[name]
    memory = method.start(2) if method.start else {}
    memory = {key: tf.constant(value, tf.float64) for key, value in memory.items()}

    def step(count, point, mean, square, memory):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(point)
            losses = objectives(point[0], point[1])
        jacobian = tf.stack([tape.gradient(loss, point) for loss in losses])
        available = {
            "losses": tf.stack(losses) - (LEAST if name in ("gradnorm", "dwa") else 0.0),
            "gramian": jacobian @ tf.transpose(jacobian),
            "draw": hashed_draw(tf.cast(count, tf.uint32), (2, 2)),
            "state": memory,
        }
        result = method.function(*(available[k] for k in method.takes), **OPTIONS.get(name, {}))
        weights, memory = result if "state" in method.takes else (result, {})
        gradient = tf.linalg.matvec(jacobian, tf.cast(weights, tf.float64), transpose_a=True)
        count = count + 1.0
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        corrected = mean / (1 - 0.9**count), square / (1 - 0.999**count)
        return (
            count,
            point - 1e-3 * corrected[0] / (corrected[1] ** 0.5 + 1e-8),
            mean,
            square,
            memory,
        )

    @tf.function(jit_compile=True, autograph=False)
    def run(start):
        zero = tf.zeros(2, tf.float64)
        places = tf.TensorArray(tf.float64, steps // every, element_shape=(2,))

        def stretch(i, places, *state):
            places = places.write(i, state[1])
            state = tf.while_loop(
                lambda j, *_: j < every, lambda j, *s: (j + 1, *step(*s)), (0, *state)
            )[1:]
            return i + 1, places, *state

        first = (tf.constant(0.0, tf.float64), start, zero, zero, memory)
        _, places, *state = tf.while_loop(
            lambda i, *_: i < steps // every, stretch, (0, places, *first)
        )
        return tf.concat([places.stack(), state[1][None]], axis=0)

    return run(tf.constant(start)).numpy()


def pareto_front():
    """Points of the front and their losses, by search over a fine grid below the axis."""
    x = np.linspace(-7, 7, 281)
    y = np.linspace(-11, -6, 1001)
    losses = np.stack(objectives(x[:, None], y[None, :], np))  # (2, x, y)
    best = []
    for share in np.linspace(0, 1, 401):
        total = share * losses[0] / SCALES[0] + (1 - share) * losses[1] / SCALES[1]
        best.append(np.unravel_index(total.argmin(), total.shape))
    rows, columns = np.array(sorted(set(best))).T
    return np.stack([x[rows], y[columns]], 1), losses[:, rows, columns].T


def judged(ends, front_losses):
    """For each end: has it arrived, and its imbalance."""
    low, high = front_losses.min(axis=0), front_losses.max(axis=0)
    on_front = (front_losses - low) / (high - low)
    found = (np.stack(objectives(ends[:, 0], ends[:, 1], np), 1) - low) / (high - low)
    gaps = (found[:, None, :] - on_front[None]).min(axis=-1).max(axis=-1)
    return gaps <= 0.01, np.abs(found[:, 0] - found[:, 1])


def draw(paths, front, file):
    """The paths of every method over the contours of the sum of the unscaled losses."""
    columns = 4
    rows = -(-len(paths) // columns)
    figure, panels = plt.subplots(
        rows, columns, figsize=(3.6 * columns, 3.4 * rows), layout="constrained"
    )
    grid = np.linspace(-11, 11, 221)
    losses = objectives(grid[None, :], grid[:, None], np)
    total = losses[0] / SCALES[0] + losses[1] / SCALES[1]
    for panel in panels.flat[len(paths) :]:
        panel.axis("off")
    for panel, (name, (lines, caption)) in zip(panels.flat, paths.items(), strict=False):
        panel.contour(grid, grid, total, levels=25, linewidths=0.4, cmap="Greys", alpha=0.7)
        panel.plot(*front.T, color="tab:gray", linewidth=6, alpha=0.5, solid_capstyle="round")
        for line in lines:
            panel.plot(*line.T, linewidth=1.2)
            panel.plot(*line[0], "ko", markersize=3)
            panel.plot(*line[-1], "r*", markersize=9)
        panel.set(
            title=f"{name}: {caption}", xlabel="x", ylabel="y", xlim=(-11, 11), ylim=(-11, 11)
        )
    figure.savefig(file, dpi=110)


def main():
    """Print one line a method, and draw the paths."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=50_000)
    parser.add_argument("--only", nargs="*", default=NAMES, choices=NAMES)
    parser.add_argument("--out", type=Path, default=Path("out/toy_pareto"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    front, front_losses = pareto_front()
    paths = {}
    print(f"{'method':14}{'looks at':12}{'arrived':>8}{'imbalance: mean':>17}{'largest':>9}   ends")
    for name in args.only:
        lines = [path(name, start, args.steps, args.steps // 500) for start in STARTS]
        ends = np.array([line[-1] for line in lines])
        arrived, imbalance = judged(ends, front_losses)
        sees = "losses" if name in LOSSES_ALONE else "gradients"
        mean = imbalance[arrived].mean() if arrived.any() else np.nan
        most = imbalance[arrived].max() if arrived.any() else np.nan
        at = " ".join(f"({x:.1f}, {y:.1f})" for x, y in ends)
        print(f"{name:14}{sees:12}{arrived.sum():>6}/5{mean:17.3f}{most:9.3f}   {at}", flush=True)
        paths[name] = lines, f"{arrived.sum()} of 5, imbalance {mean:.2f}"
    draw(paths, front, args.out / "paths.png")
    print(f"Picture: {args.out / 'paths.png'}")


if __name__ == "__main__":
    main()

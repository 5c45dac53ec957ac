"""The coefficients that `Rational` starts from: minimax fits on an interval, and their errors.

    python benchmarks/rational_fit.py                  # the table FITS of activations/pade.py
    python benchmarks/rational_fit.py --compare 3 5 8  # on other intervals, other denominators

A fit minimises the largest |P(x) / Q(x) - f(x)| over P of degree 5 and Q = 1 + R of degree 4 with
R >= 0, by the differential correction algorithm (Cheney and Loeb, 1961): a linear program at each
step, which converges to the best fit from any start. Three denominators are compared:

- even: R(x) = b2 x^2 + b4 x^4 with b2, b4 >= 0, so that |R| = R has no kink anywhere;
- sum: R(x) = b1 x + ... + b4 x^4, not negative on the interval;
- terms: R(x) = |b1 x| + ... + |b4 x^4|, the other safe form.
"""

import argparse
from decimal import ROUND_CEILING, Context, Decimal

import numpy as np
from scipy import special
from scipy.optimize import linprog

FUNCTIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.2 * x),
    "gelu": lambda x: x * special.ndtr(x),
    "silu": lambda x: x * special.expit(x),
    "tanh": np.tanh,
}
DENOMINATORS = ("even", "sum", "terms")
LARGEST = 50.0  # of a coefficient in the denominator


def main():
    """Print the fits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bound", type=float, default=5.0, help="fit on [-bound, bound]")
    parser.add_argument("--compare", type=float, nargs="*", help="bounds to compare errors on")
    args = parser.parse_args()
    if args.compare is None:
        for name, function in FUNCTIONS.items():
            numerator, denominator = fit(function, args.bound)
            error = largest_error(function, numerator, denominator, args.bound)
            stated = Decimal(error).normalize(Context(prec=3, rounding=ROUND_CEILING))
            print(f'"{name}": Fit(\n    {numerator},\n    {denominator},\n    {stated:g},\n),')
        return
    print(f"{'function':12}{'interval':12}" + "".join(f"{kind:>18}" for kind in DENOMINATORS))
    for bound in args.compare:
        for name, function in FUNCTIONS.items():
            errors = [
                largest_error(function, *fit(function, bound, kind), bound, kind)
                for kind in DENOMINATORS
            ]
            print(f"{name:12}+-{bound:<10g}" + "".join(f"{error:18.2e}" for error in errors))


def fit(function, bound, kind="even"):
    """Coefficients of the numerator and of the denominator, rounded to nine digits."""
    x = nodes(bound)
    target, powers = function(x), x[:, None] ** np.arange(6)
    inner = np.abs(powers[:, 1:5]) if kind == "terms" else powers[:, 1:5]
    # A scale for each unknown: coefficients in x / bound, and the improvement.
    scales = np.r_[bound ** -np.arange(6.0), bound ** -np.arange(1.0, 5.0), 1.0]
    limits, where_positive = constraints(x, kind)
    limits = [
        tuple(None if limit is None else limit / scale for limit in pair)
        for pair, scale in zip(limits, scales, strict=True)
    ]
    numerator, denominator = np.linalg.lstsq(powers, target, rcond=None)[0], np.zeros(4)
    bottom = np.ones_like(x)
    error = np.abs(powers @ numerator - target).max()
    while True:
        # Minimise z: |f Q - P| - error * Q <= z * (Q of the step before), at each node.
        rows = [
            np.c_[sign * -powers, (sign * target - error)[:, None] * inner, -bottom]
            for sign in (1, -1)
        ]
        bounds = [error - sign * target for sign in (1, -1)]
        solution = linprog(
            np.r_[np.zeros(10), 1.0],
            A_ub=np.r_[(*rows, where_positive)] * scales,
            b_ub=np.r_[(*bounds, np.zeros(len(where_positive)))],
            bounds=limits,
            method="highs",
        )
        if solution.x is None:
            break
        unknowns = solution.x * scales
        candidate = np.abs(powers @ unknowns[:6] / (1 + inner @ unknowns[6:10]) - target).max()
        if not candidate < error * (1 - 1e-9):
            break
        numerator, denominator, error = unknowns[:6], unknowns[6:10], candidate
        bottom = 1 + inner @ denominator
    return tuple(rounded(numerator)), tuple(rounded(denominator))


def constraints(x, kind):
    """Limits of the unknowns, and the rows that keep R from becoming negative."""
    free, positive, none = (None, None), (0.0, LARGEST), (0.0, 0.0)
    if kind == "even":
        return [free] * 6 + [none, positive, none, positive, free], np.zeros((0, 11))
    if kind == "terms":
        return [free] * 6 + [positive] * 4 + [free], np.zeros((0, 11))
    rows = x[x != 0, None] ** np.arange(1, 5)
    rows = np.c_[np.zeros((len(rows), 6)), -rows, np.zeros(len(rows))]
    return [free] * 6 + [(-LARGEST, LARGEST)] * 4 + [free], rows


def nodes(bound):
    """Points dense at the ends and at 0, where the errors peak."""
    near_ends = bound * np.cos(np.linspace(0, np.pi, 401))
    near_zero = np.geomspace(1e-4 * bound, bound, 200)
    return np.unique(np.r_[near_ends, near_zero, -near_zero, 0.0])


def rounded(values):
    """Nine significant digits; what is no more than noise of the solver is 0."""
    return [0.0 if abs(value) < 1e-7 else float(f"{value:.9g}") for value in values]


def largest_error(function, numerator, denominator, bound, kind="even"):
    """On a grid ten times as fine as that of the fit."""
    x = np.linspace(-bound, bound, 100_001)
    powers = x[:, None] ** np.arange(1, 5)
    inner = np.abs(powers) @ denominator if kind == "terms" else np.abs(powers @ denominator)
    return np.abs(np.polyval(numerator[::-1], x) / (1 + inner) - function(x)).max()


if __name__ == "__main__":
    main()

"""FrechetDistance against scipy's matrix square root, and where that loses its digits."""

import keras
import numpy as np
import pytest
from scipy.linalg import sqrtm

import keras_duo as duo
from tests.backend import BACKEND, numpy

RANDOM = np.random.default_rng(0)
MIXING = RANDOM.normal(size=(6, 6))
REAL = RANDOM.normal(size=(500, 6)) @ MIXING + 3.0
FAKE = RANDOM.normal(size=(700, 6)) + RANDOM.normal(size=6)
PRECISION = 1e-3 if BACKEND == "jax" else 1e-9


def by_definition(real, fake):
    s, t = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    distance = ((real.mean(0) - fake.mean(0)) ** 2).sum()
    return distance + np.trace(s + t - 2 * sqrtm(s @ t).real)


def distance(real, fake, **arguments):
    metric = duo.FrechetDistance(**arguments)
    metric.update_state(real, fake)
    return float(numpy(metric.result()))


def test_the_definition():
    assert distance(REAL, FAKE) == pytest.approx(by_definition(REAL, FAKE), rel=PRECISION)


def test_batches_of_any_size():
    metric = duo.FrechetDistance()
    for part in (slice(0, 1), slice(1, 300), slice(300, None)):
        metric.update_state(REAL[part], FAKE[part])
    assert float(numpy(metric.result())) == pytest.approx(distance(REAL, FAKE), rel=PRECISION)


def test_the_same_examples_are_at_no_distance():
    assert distance(REAL, REAL[::-1]) == pytest.approx(0.0, abs=1e-2 if BACKEND == "jax" else 1e-9)


@pytest.mark.skipif(BACKEND == "jax", reason="JAX computes in float32")
def test_singular_covariances():
    """Fewer examples than features: (S T)^(1/2) of scipy loses half of the digits there."""
    first, second = RANDOM.normal(size=(2, 5, 40))
    basis = np.linalg.qr(np.concatenate([first, second]).T)[0]  # the space that they span
    assert basis.shape == (40, 10)
    expected = distance(first @ basis, second @ basis)
    assert distance(first, second) == pytest.approx(expected, rel=1e-9)
    # No direction in common: the root is 0.
    apart = [np.concatenate(pair, axis=1) for pair in ((first, 0 * first), (0 * second, second))]
    spread = sum(np.cov(x, rowvar=False).trace() for x in apart)
    shift = ((apart[0].mean(0) - apart[1].mean(0)) ** 2).sum()
    assert distance(*apart) == pytest.approx(shift + spread, rel=1e-12)
    # One direction in common: normal distributions on a line.
    line = np.outer(RANDOM.normal(size=50), np.ones(8) / np.sqrt(8))
    spread = (line @ np.ones(8) / np.sqrt(8)).std(ddof=1)
    assert distance(line, 3 * line + 1) == pytest.approx(
        ((2 * line + 1).mean(0) ** 2).sum() + (2 * spread) ** 2, rel=1e-9
    )


@pytest.mark.skipif(BACKEND == "jax", reason="JAX computes in float32")
def test_far_from_the_origin():
    shifted = distance(REAL + 1e4, FAKE + 1e4)
    assert shifted == pytest.approx(distance(REAL, FAKE), rel=1e-6)


def test_in_the_features_of_a_classifier():
    classifier = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, "relu")])
    real, fake = (np.asarray(classifier(x), "float64") for x in (REAL, FAKE))
    found = distance(REAL, np.repeat(FAKE, 3, axis=0), classifier=classifier)
    assert found == pytest.approx(by_definition(real, np.repeat(fake, 3, axis=0)), rel=1e-3)
    with pytest.raises(ValueError, match="cannot be saved"):
        duo.FrechetDistance(classifier).get_config()


def test_nothing_to_compare():
    assert np.isnan(distance(REAL[:1], FAKE))


def test_bad_examples():
    metric = duo.FrechetDistance()
    with pytest.raises(ValueError, match=r"shape \(batch, features\)"):
        metric.update_state(REAL[0], FAKE[0])
    metric.update_state(REAL, FAKE)
    with pytest.raises(ValueError, match="must be as many as before"):
        metric.update_state(REAL[:, :2], FAKE)
    with pytest.raises(ValueError, match="`sample_weight` must be left out"):
        metric.update_state(REAL, FAKE, np.ones(500))

"""Combined gradients of a Jacobian of two tasks, beside those that TorchJD publishes.

The figures are those of `tests/unit/aggregation/test_values.py` in github.com/TorchJD/torchjd,
which holds them to 1e-4.
"""

import numpy as np
import pytest

from keras_duo import weightings
from tests.backend import numpy

JACOBIAN = np.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]], "float32")
GRAMIAN = JACOBIAN @ JACOBIAN.T


@pytest.mark.parametrize(
    ("name", "options", "published"),
    [
        ("aligned_mtl", {}, [0.2133, 0.9673, 0.9673]),
        ("cagrad", {"c": 0.5}, [0.1835, 1.2041, 1.2041]),
        ("imtl_g", {}, [0.0767, 1.0000, 1.0000]),
        ("mgda", {}, [0.0, 1.0, 1.0]),
        ("nash", {}, [0.0542, 0.7061, 0.7061]),
        ("pcgrad", {"draw": np.array([[0, 1], [0, 1]])}, [0.5848, 3.8012, 3.8012]),
        ("upgrad", {"ridge": 1e-4}, [0.2929, 1.9004, 1.9004]),
    ],
)
def test_combined_gradients_are_those_of_torchjd(name, options, published):
    weights = numpy(getattr(weightings, name)(GRAMIAN, **options))
    np.testing.assert_allclose(weights @ JACOBIAN, published, rtol=0, atol=1.5e-4)


@pytest.mark.parametrize(
    ("name", "options", "published"),
    [
        ("aligned_mtl", {}, [0.5591, 0.4083]),
        ("cagrad", {"c": 0.5}, [0.7041, 0.5000]),
        ("imtl_g", {}, [0.5923, 0.4077]),
        ("mgda", {}, [0.6000, 0.4000]),
        ("pcgrad", {"draw": np.array([[0, 1], [0, 1]])}, [2.2222, 1.5789]),
        ("upgrad", {"ridge": 1e-4}, [1.1109, 0.7894]),
    ],
)
def test_weights_are_those_of_torchjd(name, options, published):
    weights = numpy(getattr(weightings, name)(GRAMIAN, **options))
    np.testing.assert_allclose(weights, published, rtol=0, atol=1e-4)


def test_upgrad_without_a_ridge_is_the_projection_itself():
    """Each gradient less its part along the other one, which it opposes."""
    expected = 0.5 * np.array([1 + 22 / 18, 1 + 22 / 38])
    np.testing.assert_allclose(numpy(weightings.upgrad(GRAMIAN)), expected, rtol=1e-5)


def test_cagrad_between_three_tasks_is_that_of_a_general_solver():
    from scipy.optimize import minimize

    random = np.random.default_rng(0)
    for _ in range(5):
        jacobian = random.normal(size=(3, 6))
        mean = jacobian.mean(axis=0)
        found = numpy(weightings.cagrad((jacobian @ jacobian.T).astype("float32"), c=0.4))
        direction = found @ jacobian
        best = minimize(
            lambda p: -p[-1],
            [*mean, 0.0],
            constraints=[
                {"type": "ineq", "fun": lambda p, j=jacobian: j @ p[:-1] - p[-1]},
                {
                    "type": "ineq",
                    "fun": lambda p, m=mean: 0.16 * (m @ m) - ((p[:-1] - m) ** 2).sum(),
                },
            ],
            tol=1e-12,
        ).x[:-1]
        np.testing.assert_allclose(direction, best, atol=2e-4)


def test_mgda_and_upgrad_among_five_tasks_are_those_of_a_general_solver():
    from scipy.optimize import nnls

    random = np.random.default_rng(1)
    for _ in range(5):
        jacobian = random.normal(size=(5, 4))
        gramian = (jacobian @ jacobian.T).astype("float32")
        augmented = np.vstack([jacobian.T, np.ones(5)])
        solution, _ = nnls(augmented, np.array([0, 0, 0, 0, 1.0]))
        expected = solution / solution.sum() @ jacobian
        np.testing.assert_allclose(numpy(weightings.mgda(gramian)) @ jacobian, expected, atol=1e-4)
        projected = [g + nnls(jacobian.T, -g)[0] @ jacobian for g in jacobian]
        combined = numpy(weightings.upgrad(gramian)) @ jacobian
        np.testing.assert_allclose(combined, np.mean(projected, axis=0), atol=1e-4)


def test_nash_solves_its_equation():
    jacobian = np.random.default_rng(2).normal(size=(4, 9)).astype("float32")
    weights = numpy(weightings.nash(jacobian @ jacobian.T, max_norm=100.0))
    np.testing.assert_allclose(jacobian @ jacobian.T @ weights, 1 / weights, rtol=1e-4)


def test_famo_follows_the_reference_step():
    """Two steps of the pseudo-code of the paper (appendix C), worked in NumPy."""
    losses = np.array([[1.0, 2.0, 4.0], [0.7, 1.9, 4.0], [0.6, 1.0, 3.9]])
    logits, momentum, velocity = np.zeros(3), np.zeros(3), np.zeros(3)
    state = weightings.famo_start(3)
    for t, now in enumerate(losses):
        if t:
            fall = np.log(losses[t - 1]) - np.log(now)
            z = np.exp(logits) / np.exp(logits).sum()
            slope = z * fall - z * (z @ fall) + 0.001 * logits
            momentum = 0.9 * momentum + 0.1 * slope
            velocity = 0.999 * velocity + 0.001 * slope**2
            step = momentum / (1 - 0.9**t)
            logits = logits - 0.025 * step / (np.sqrt(velocity / (1 - 0.999**t)) + 1e-8)
        z = np.exp(logits) / np.exp(logits).sum()
        expected = z / now / (z / now).sum()
        weights, state = weightings.famo(now.astype("float32"), state)
        np.testing.assert_allclose(numpy(weights), expected, rtol=1e-4)


def test_dwa_follows_the_means_of_windows():
    state = weightings.dwa_start(2)
    losses = np.array([[4, 4], [2, 4], [1, 4], [1, 2], [5, 5]], "float32")
    for now in losses:
        weights, state = weightings.dwa(now, state, window=2, temperature=2.0)
    ratio = losses[2:4].mean(axis=0) / losses[:2].mean(axis=0)
    expected = np.exp(ratio / 2) / np.exp(ratio / 2).sum()
    np.testing.assert_allclose(numpy(weights), expected, rtol=1e-5)


def test_gradnorm_makes_norms_equal_without_alpha_and_favours_the_laggard_with_it():
    gramian = np.diag([100.0, 1.0]).astype("float32") ** 2
    for alpha, losses, ratio in ((0.0, [1.0, 1.0], 1.0), (1.0, [0.25, 1.0], 4.0)):
        state = weightings.gradnorm_start(2)
        _, state = weightings.gradnorm(gramian, np.ones(2, "float32"), state, alpha=alpha)
        for _ in range(300):
            weights, state = weightings.gradnorm(
                gramian, np.array(losses, "float32"), state, alpha=alpha
            )
        weights = numpy(weights)
        assert weights[1] * 1.0 / (weights[0] * 100.0) == pytest.approx(ratio, rel=0.1)


def test_losses_of_any_scale_weigh_the_same_in_inverse():
    losses = np.array([1e-6, 1.0, 1e15], "float32")
    weights = numpy(weightings.inverse(losses))
    np.testing.assert_allclose(weights * losses, weights[0] * losses[0], rtol=1e-5)
    np.testing.assert_allclose(numpy(weightings.inverse(np.zeros(3, "float32"))), 1 / 3, rtol=1e-6)
    assert np.isnan(numpy(weightings.inverse(np.array([-1.0, 1.0], "float32")))).all()
    shifted = weightings.inverse(np.array([-1.0, 1.0], "float32"), minimum=-2.0)
    np.testing.assert_allclose(numpy(shifted), [0.75, 0.25], rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: weightings.cagrad(GRAMIAN, c=1.0), "c"),
        (lambda: weightings.nash(GRAMIAN, max_norm=0.0), "max_norm"),
        (lambda: weightings.upgrad(GRAMIAN, ridge=-1.0), "ridge"),
        (lambda: weightings.inverse([1.0, 2.0], minimum="0"), "minimum"),
        (lambda: weightings.fixed([1.0, 2.0], weights=[1.0]), "weights"),
        (lambda: weightings.fixed([1.0, 2.0], weights=[0.0, 0.0]), "weights"),
        (lambda: weightings.dwa([1.0], weightings.dwa_start(1), window=0), "window"),
        (lambda: weightings.famo([1.0], weightings.famo_start(1), learning_rate=0.0), "learning"),
    ],
)
def test_bad_arguments_are_refused(call, name):
    with pytest.raises(ValueError, match=f"`{name}.*Received"):
        call()

"""What holds of every Jacobian, of any scale, with gradients that are 0, equal or opposite."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_duo import weightings
from keras_duo.weightings._methods import METHODS
from tests.backend import compiled, numpy

OF_GRAMIAN = ("mgda", "upgrad", "cagrad", "imtl_g", "aligned_mtl", "nash", "balanced", "pcgrad")
ON_THE_SIMPLEX = ("mgda", "balanced")
NEVER_CONFLICT = ("mgda", "upgrad")


@cache
def in_graph(name, tasks, xla=False):
    # One graph for each number of tasks: the cache of a tf.function would be as large.
    return compiled(getattr(weightings, name), xla=xla)


def weights_of(name, jacobian, draw=None, xla=False):
    gramian = (jacobian @ jacobian.T).astype("float32")
    draw = np.random.default_rng(0).random((len(jacobian),) * 2) if draw is None else draw
    arguments = (gramian, draw.astype("float32")) if name == "pcgrad" else (gramian,)
    return numpy(in_graph(name, len(jacobian), xla)(*arguments))


@st.composite
def jacobians(draw):
    """Rows of small integers, among them 0, equal and opposite ones, each times a power of 10."""
    tasks = draw(st.sampled_from([2, 3, 5]))
    row = st.lists(st.integers(-2, 2), min_size=4, max_size=4)
    rows = np.array(draw(st.lists(row, min_size=tasks, max_size=tasks)), "float64")
    if draw(st.booleans()):
        rows[1] = draw(st.sampled_from([-1.0, 1.0])) * rows[0]
    if draw(st.booleans()):
        return rows * 10.0 ** draw(st.integers(-6, 15))
    powers = draw(st.lists(st.integers(-6, 15), min_size=tasks, max_size=tasks))
    return rows * 10.0 ** np.array(powers)[:, None]


def products(jacobian, weights):
    """<g_i, d> / ||g_i||, relative to the size of what d is the sum of."""
    norms = np.linalg.norm(jacobian, axis=1)
    size = (np.abs(weights) * norms).sum()
    unit = jacobian / np.where(norms > 0, norms, 1.0)[:, None]
    return unit @ (weights @ jacobian) / (size if size > 0 else 1.0)


@settings(max_examples=60)
@given(jacobians())
def test_weights_are_finite_and_where_they_should_be(jacobian):
    for name in OF_GRAMIAN:
        weights = weights_of(name, jacobian)
        assert np.isfinite(weights).all(), name
        if name in ON_THE_SIMPLEX:
            assert abs(weights.sum() - 1) < 1e-6, name
            assert (weights >= 0).all(), name


@settings(max_examples=60)
@given(jacobians())
def test_the_combined_gradient_conflicts_with_no_task(jacobian):
    for name in NEVER_CONFLICT:
        assert products(jacobian, weights_of(name, jacobian)).min() > -1e-5, name


@settings(max_examples=40)
@given(jacobians(), st.randoms(use_true_random=False))
def test_the_order_of_the_tasks_does_not_matter(jacobian, random):
    order = list(range(len(jacobian)))
    random.shuffle(order)
    draw = np.random.default_rng(1).random((len(order),) * 2)
    for name in OF_GRAMIAN:
        first = weights_of(name, jacobian, draw)
        second = weights_of(name, jacobian[order], draw[order][:, order])
        one, other = products(jacobian, first), products(jacobian[order], second)
        np.testing.assert_allclose(other, one[order], atol=2e-3, err_msg=name)


@pytest.mark.parametrize("name", OF_GRAMIAN)
def test_xla_finds_the_same(name):
    jacobian = np.random.default_rng(3).normal(size=(3, 6))
    expected = weights_of(name, jacobian)
    np.testing.assert_allclose(weights_of(name, jacobian, xla=True), expected, rtol=1e-5)


@settings(max_examples=40)
@given(
    st.lists(st.sampled_from([0.0, 1e-6, 0.3, 1.0, 7.0, 1e15]), min_size=3, max_size=3),
    st.integers(1, 4),
)
def test_weights_of_losses_stay_on_the_simplex(losses, steps):
    losses = np.array(losses, "float32")
    for name in ("inverse", "famo", "dwa", "fixed"):
        method = METHODS[name]
        state = method.start(3) if method.start else {}
        for step in range(steps):
            now = losses * np.float32(0.5) ** step
            weights, state = method({"losses": now, "state": state}, {})
            assert abs(numpy(weights).sum() - 1) < 1e-6, name
            assert (numpy(weights) >= 0).all(), name
            assert all(np.isfinite(numpy(value)).all() for value in state.values()), name

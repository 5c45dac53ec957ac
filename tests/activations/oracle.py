"""Values and derivatives from 40-digit arithmetic, and how an activation is compared with them."""

import mpmath
import numpy as np
from keras import ops

from tests.backend import gradients, has_float64, numpy

DTYPE = "float64" if has_float64() else "float32"


def assert_close(actual, expected, scale):
    """Within the rounding of a few operations on numbers of size `scale`."""
    tolerance = 1e-12 if has_float64() else 2e-5
    np.testing.assert_allclose(actual, expected, tolerance, tolerance * max(scale, 1e-300))


def assert_same_as_formula(function, formula, points):
    """Value and every first derivative at each point (x, *parameters)."""
    for point in points:
        tensors = [ops.convert_to_tensor(value, dtype=DTYPE) for value in point]
        exact = [mpmath.mpf(float(numpy(tensor))) for tensor in tensors]
        with mpmath.workdps(40):
            expected = formula(*exact)
            slopes = [
                mpmath.diff(formula, tuple(exact), tuple(int(i == j) for j in range(len(exact))))
                for i in range(len(exact))
            ]
        assert_close(numpy(function(*tensors)), float(expected), abs(point[0]))
        for i, (found, slope) in enumerate(zip(gradients(function, *tensors), slopes, strict=True)):
            scale = max(1, abs(point[0])) ** (1 if i == 0 else 2)
            assert_close(found, float(slope), scale)

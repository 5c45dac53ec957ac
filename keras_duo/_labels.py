"""What an array of labels says about itself: coding, range, balance of the classes, tails."""

from functools import cached_property
from typing import Any

import numpy as np

# Distributions are summed in the dtype of the labels, float16 included.
_SUM_TOLERANCE = 2e-3
# With more distinct values than that, numbers are no class ids.
_MOST_CLASSES = 100_000


class Labels:
    """An array of labels, and what can be read from it.

    Attributes:
        values: The labels as they are.
        shape: Their shape, the batch axis first.

    Example:
        >>> from keras_duo._labels import Labels
        >>> Labels([[0, 1, 0], [1, 0, 0]]).coding
        'one-hot'
    """

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values)
        self.shape = self.values.shape
        if self.values.dtype.kind not in "biuf" and self.values.dtype.name != "bfloat16":
            raise ValueError(
                "`y` must hold numbers; make class ids of names, for example with "
                f"keras.layers.StringLookup. Received: an array of dtype {self.values.dtype}"
            )
        if not self.shape or not self.values.size:
            raise ValueError(f"`y` must hold at least one label. Received: shape={self.shape}")

    @cached_property
    def finite(self) -> np.ndarray:
        """The finite values, flat, in float64, which holds every class id exactly."""
        flat = self.values.astype("float64").ravel()
        return flat[np.isfinite(flat)]

    @property
    def not_finite(self) -> int:
        """How many values are NaN or infinite."""
        return self.values.size - self.finite.size

    @cached_property
    def low(self) -> float:
        return float(self.finite.min()) if self.finite.size else np.nan

    @cached_property
    def high(self) -> float:
        return float(self.finite.max()) if self.finite.size else np.nan

    @cached_property
    def whole(self) -> bool:
        """Whether every value is a whole number."""
        return bool((self.finite == np.round(self.finite)).all())

    @cached_property
    def rows(self) -> np.ndarray:
        """The values as (rows, last axis); labels of rank 1 have a last axis of 1."""
        last = self.shape[-1] if len(self.shape) > 1 else 1
        return self.values.astype("float64").reshape(-1, last)

    @cached_property
    def coding(self) -> str:
        """How the labels are written.

        "binary" (0 and 1), "signs" (-1 and 1), "one-hot", "multi-hot" (0 and 1 with another number
        of ones in a row), "ids" (whole numbers >= 0), "distribution" (rows >= 0 that sum to 1),
        "unit" (from 0 to 1), "whole" (whole numbers) or "real".
        """
        several, sums = self.rows.shape[1] > 1, self.rows.sum(axis=-1)
        if self.only(0, 1):
            if not several:
                return "binary"
            return "one-hot" if (sums == 1).all() else "multi-hot"
        if self.only(-1, 1):
            return "signs"
        if self.whole:
            return "ids" if self.low >= 0 else "whole"
        if self.low >= 0 and self.high <= 1:
            return "distribution" if several and _are_one(sums) else "unit"
        return "real"

    @cached_property
    def counts(self) -> dict[int, int]:
        """How often each class occurs; empty where the labels name none."""
        if self.coding == "one-hot":
            totals = self.rows.sum(axis=0)
            return {index: int(total) for index, total in enumerate(totals) if total}
        if self.coding not in ("binary", "signs", "ids"):
            return {}
        ids, totals = np.unique(self.finite, return_counts=True)
        if len(ids) > _MOST_CLASSES:
            return {}
        return {int(i): int(total) for i, total in zip(ids, totals, strict=True)}

    @property
    def positives(self) -> float:
        """Share of ones among the values."""
        return float((self.finite == 1).mean())

    def only(self, *values: float) -> bool:
        """Whether there is no other value than these."""
        return bool(np.isin(self.finite, values).all())

    def share_outside(self, low: float, high: float) -> float:
        """Share of values below `low` or above `high`, by more than rounding."""
        slack = 1e-6 * max([1.0, *(abs(bound) for bound in (low, high) if np.isfinite(bound))])
        return float(((self.finite < low - slack) | (self.finite > high + slack)).mean())

    def share_of_outliers(self) -> float:
        """Share of values more than 5 robust standard deviations from the median of their column.

        The robust standard deviation is 1.4826 times the median absolute deviation, which outliers
        do not move; of normal labels 6e-7 lie that far out. NaN where half of a column is equal.
        """
        distance = np.abs(self.rows - np.median(self.rows, axis=0))
        scale = 1.4826 * np.median(distance, axis=0)
        if not scale.all():
            return np.nan
        return float((distance > 5 * scale).mean())


def _are_one(sums: np.ndarray) -> bool:
    return bool((np.abs(sums - 1) < _SUM_TOLERANCE).all())

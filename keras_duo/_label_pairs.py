"""From labels to rows of the table of pairs: which tasks they can belong to, and why."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from keras_duo._labels import Labels

# A class this much rarer than another, or a share of ones below, is rare.
_RARE = 0.1
# Of normal labels 6e-7 lie that far out; of Laplace ones 6e-3.
_HEAVY = 2e-3
# By chance four numbers are a box in one case of four.
_ENOUGH_BOXES = 8


@dataclass(frozen=True)
class Candidate:
    """A task and kind of data, the evidence, the units of the head, and the labels if it matters.

    With `signs` only losses for -1 and 1 are meant.
    """

    task: str
    data: str
    evidence: str
    units: int | None
    signs: bool = False


def candidates(labels: Labels, x_shape: tuple | None = None) -> list[Candidate]:
    """The tasks that the labels fit, the likeliest first."""
    return list(_ranked(labels, x_shape))


def _ranked(labels: Labels, x_shape: tuple | None) -> Iterator[Candidate]:
    if _of_pixels(labels, x_shape):
        yield from _segmentation(labels)
        return
    if _are_boxes(labels):
        yield Candidate("detection", "boxes", "four columns, the last two above the first two", 4)
        yield from _regression(labels)
        return
    last = labels.rows.shape[1]
    if labels.coding == "binary":
        yield _binary(labels)
    elif labels.coding == "signs":
        yield Candidate("binary", "balanced", "labels of -1 and 1", last, signs=True)
    elif labels.coding == "one-hot":
        kind = "imbalanced" if _rarest(labels) < _RARE else "one-hot"
        yield Candidate("single-label", kind, f"one 1 in each row; {_balance(labels)}", last)
    elif labels.coding == "multi-hot":
        kind = "imbalanced" if labels.positives < _RARE else "balanced"
        ones = f"rows of 0 and 1 with 0 to {labels.rows.sum(-1).max():.0f} ones"
        yield Candidate("multi-label", kind, f"{ones}; {100 * labels.positives:.1f} % are 1", last)
    elif labels.coding == "distribution":
        yield Candidate("single-label", "soft", "rows that are not negative and sum to 1", last)
    elif labels.coding == "ids":
        yield from _whole_numbers(labels, x_shape)
    elif labels.coding == "unit":
        yield Candidate("regression", "bounded", f"numbers {_range(labels)}", last)
        yield from _regression(labels)
    else:
        yield from _regression(labels)


def _binary(labels: Labels) -> Candidate:
    share = labels.positives
    evidence = f"labels of 0 and 1; {100 * share:.1f} % are 1"
    if share in (0.0, 1.0):
        return Candidate("binary", "balanced", f"{evidence}: there is nothing to tell apart", 1)
    kind = "imbalanced" if min(share, 1 - share) < _RARE else "balanced"
    return Candidate("binary", kind, evidence, 1)


def _whole_numbers(labels: Labels, x_shape: tuple | None) -> Iterator[Candidate]:
    """Class ids or counts, which no single number tells apart; or labels of unaligned sequences."""
    units = int(labels.high) + 1
    if _is_unaligned(labels, x_shape):
        padding = 100 * float((labels.finite == 0).mean())
        evidence = f"whole numbers, {padding:.0f} % 0 at the ends of rows shorter than those of x"
        yield Candidate("sequence", "unaligned", evidence, units)
    counts = Candidate("counts", "any", f"whole numbers {_range(labels)}", labels.rows.shape[1])
    kind = "imbalanced-sparse" if _rarest(labels) < _RARE else "sparse"
    evidence = f"whole numbers {_range(labels)}; {_balance(labels)}"
    ids = Candidate("single-label", kind, evidence, units)
    yield from (counts, ids) if _look_counted(labels) else (ids, counts)


def _look_counted(labels: Labels) -> bool:
    """Whether whole numbers are rather counts: written as floats, with gaps, or with a tail."""
    if labels.values.dtype.kind == "f":
        return True
    found = np.array(sorted(labels.counts))
    if not len(found) or len(found) < found[-1] + 1 - found[0]:
        return True
    # Classes come in any order of frequency. Counts rise to one peak and fall to a thin tail.
    heights = np.array([labels.counts[value] for value in found])
    peak = int(heights.argmax())
    rising, falling = np.diff(heights[: peak + 1]), np.diff(heights[peak:])
    slack = 2 * np.sqrt(heights.max())
    one_peak = bool((rising > -slack).all() and (falling < slack).all())
    return len(found) >= 6 and one_peak and heights[-1] < 0.05 * heights.max()


def _segmentation(labels: Labels) -> Iterator[Candidate]:
    last = labels.shape[-1] if len(labels.shape) == 4 else 1
    share = f"{100 * labels.positives:.1f} % are 1"
    if labels.coding == "one-hot":
        yield Candidate("segmentation", "one-hot", "one 1 for each pixel", last)
    elif labels.only(0, 1):
        kind = "small-objects" if labels.positives < _RARE else "masks"
        yield Candidate("segmentation", kind, f"0 or 1 for each pixel; {share}", last)
    else:
        evidence = f"a whole number {_range(labels)} for each pixel"
        yield Candidate("segmentation", "sparse", evidence, int(labels.high) + 1)


def _regression(labels: Labels) -> Iterator[Candidate]:
    last, share = labels.rows.shape[1], labels.share_of_outliers()
    if np.isnan(share):
        evidence = "half of the numbers or more are equal"
    else:
        evidence = f"{100 * share:.2f} % of the numbers lie beyond 5 robust standard deviations"
    rows = [
        Candidate("regression", kind, f"numbers {_range(labels)}; {evidence}", last)
        for kind in ("gaussian", "outliers")
    ]
    yield from reversed(rows) if share > _HEAVY else rows


def _of_pixels(labels: Labels, x_shape: tuple | None) -> bool:
    """Whether there is a label for each pixel of an image."""
    known = labels.coding in ("binary", "one-hot", "multi-hot", "ids")
    if x_shape is not None:
        return known and len(x_shape) == 4 and labels.shape[1:3] == tuple(x_shape[1:3])
    return known and len(labels.shape) == 4


def _are_boxes(labels: Labels) -> bool:
    rows = labels.rows
    if rows.shape[1] != 4 or len(rows) < _ENOUGH_BOXES or labels.only(0, 1):
        return False
    return bool((rows[:, 2:] > rows[:, :2]).all())


def _is_unaligned(labels: Labels, x_shape: tuple | None) -> bool:
    """Whether rows of ids end in padding, and the inputs have more steps."""
    if len(labels.shape) != 2 or x_shape is None or len(x_shape) != 3:
        return False
    padded = labels.values == 0
    at_the_end = bool((np.diff(padded.astype(int), axis=-1) >= 0).all())
    return at_the_end and x_shape[1] > labels.shape[1] and bool(padded.any())


def _rarest(labels: Labels) -> float:
    counts = labels.counts.values()
    return min(counts) / max(counts) if counts else 1.0


def _balance(labels: Labels) -> str:
    counts = labels.counts.values()
    return f"{len(counts)} classes of {min(counts)} to {max(counts)} examples"


def _range(labels: Labels) -> str:
    return f"from {labels.low:g} to {labels.high:g}"

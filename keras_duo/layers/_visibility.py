"""Which keys a query may look at: masks of padding, masks of attention, and the order of time."""

from typing import Any

import keras
from keras import ops


def visible_keys(
    queries: Any,
    keys: Any,
    *,
    causal: bool = False,
    position: Any = 0,
    key_mask: Any = None,
    attention_mask: Any = None,
) -> Any:
    """True where a query may look, (batch or 1, queries or 1, keys); None: everywhere.

    `queries` and `keys` are their numbers, `position` is that of the first query among the keys.
    """
    visible = None if key_mask is None else ops.expand_dims(key_mask, 1)
    if attention_mask is not None:
        visible = _both(visible, attention_mask)
    if causal:
        latest = ops.expand_dims(position + ops.arange(queries), 1)
        visible = _both(visible, ops.expand_dims(ops.arange(keys) <= latest, 0))
    return visible


def blanked(name: str, x: Any, mask: Any) -> tuple[Any, Any]:
    """`x` with zeros in the padding, so that nothing comes of what stands there, not even NaN."""
    if x is None or mask is None:
        return x, None
    mask = checked_mask(name, mask, tuple(x.shape[:2]))
    return ops.where(ops.expand_dims(mask, -1), x, 0.0), mask


def checked_mask(name: str, mask: Any, sizes: tuple) -> Any:
    """`mask` as a boolean tensor, after a check of its shape against the sizes that are known.

    A size can be a number, None, or a tuple of the numbers that would do.
    """
    if mask is None:
        return None
    mask = ops.convert_to_tensor(mask)
    allowed = [size if isinstance(size, tuple) else (size,) for size in sizes]
    fits = len(mask.shape) == len(sizes) and all(
        None in (found, *numbers) or found in numbers
        for found, numbers in zip(mask.shape, allowed, strict=True)
    )
    # Numbers may be meant to be added to the scores, and 0 then stands for what can be seen.
    dtype = keras.backend.standardize_dtype(mask.dtype)
    if not fits or keras.backend.is_float_dtype(dtype):
        raise ValueError(
            f"`{name}` must be boolean, True where there is something to see, of the shape "
            f"{tuple(sizes)}. Received: {name}.shape={tuple(mask.shape)}, {name}.dtype={dtype}"
        )
    return ops.cast(mask, "bool")


def check_context(context: Any, expected: bool) -> None:
    """Raise where a context is given to a block without the weights for it, or missing."""
    if (context is not None) != expected:
        raise ValueError(
            "`context` must be given in every call or in none, and the first call had "
            f"{'one' if expected else 'none'}. Received: context={context!r}"
        )


def _both(first: Any, second: Any) -> Any:
    return second if first is None else ops.logical_and(first, second)

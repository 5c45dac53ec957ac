"""Keys and values of positions that have been seen, for outputs that come one by one."""

from typing import Any

from keras import ops


def empty_cache(batch_size: int, heads: int, max_length: int, head_dim: int, dtype: str) -> dict:
    """Room for the keys and values of `max_length` positions, and for their mask."""
    shape = (batch_size, heads, max_length, head_dim)
    return {
        "key": ops.zeros(shape, dtype),
        "value": ops.zeros(shape, dtype),
        "mask": ops.zeros((batch_size, max_length), "bool"),
    }


def with_mask(cache: dict, mask: Any, inputs: Any, position: Any) -> dict:
    """The cache after the mask of new inputs; without one, all of them count."""
    if mask is None:
        mask = ops.ones(ops.shape(inputs)[:2], "bool")
    return {**cache, "mask": ops.slice_update(cache["mask"], (0, position), mask)}


def with_keys(cache: dict, key: Any, value: Any, position: Any) -> dict:
    """The cache after the keys and values of new inputs, (batch, heads, length, head_dim)."""
    start = (0, 0, position, 0)
    return {
        **cache,
        "key": ops.slice_update(cache["key"], start, key),
        "value": ops.slice_update(cache["value"], start, value),
    }


def check_cache(cache: dict | None, causal: bool, inputs: Any, position: Any) -> None:
    """Raise where a cache cannot give the outputs, or is known to have no room for the inputs."""
    if cache is None:
        if position is not None:
            raise ValueError(
                f"`position` is that of the inputs in a `cache`. Received: position={position}"
            )
        return
    if not causal:
        raise ValueError(
            "`cache` needs `use_causal_mask`: without it, an output depends on inputs that have "
            "not come yet. Received: use_causal_mask=False"
        )
    room, length = cache["mask"].shape[1], inputs.shape[1]
    first = position if isinstance(position, int) else 0
    if first < 0 or first + (length or 0) > room:
        raise ValueError(
            f"`position` must leave room for the inputs in a cache of {room} positions. "
            f"Received: position={position}, inputs.shape={tuple(inputs.shape)}"
        )


def within_room(cache: dict, position: Any, outputs: Any) -> Any:
    """`outputs`, or NaN where it turns out that the inputs reached past the end of the cache.

    They were then written over the last ones that had room.
    """
    if isinstance(position, int) and outputs.shape[1] is not None:
        return outputs
    fits = position + ops.shape(outputs)[1] <= cache["mask"].shape[1]
    return ops.where(fits, outputs, float("nan"))

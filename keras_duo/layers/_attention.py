"""Multi-head attention with one projection for queries, keys and values."""

from typing import Any

import keras
from keras import ops

from keras_duo.layers._analytic import attended, attention_scores
from keras_duo.layers._cache import with_keys
from keras_duo.layers._norm import Norm
from keras_duo.layers._projection import Projecting, WeightOptions
from keras_duo.layers._rotary import rotated

# Taken from the score of a key out of sight. Finite, so that a row without any key is not NaN; its
# exponential is 0 beside any key in sight. Taken away and not added: TensorFlow fuses a product of
# scaled queries and an addition into one oneDNN operation that is 300 times slower on a CPU.
_OUT_OF_SIGHT = 1e30


class Attention(Projecting):
    """softmax(Q K^T / sqrt(head_dim)) V, of the inputs among themselves or across to a context.

    `groups` heads of queries share each of `kv_heads` heads of keys and values. Heads come first,
    (groups,) batch, kv_heads, length, head_dim, so that each product is one batch of matrices; the
    axis of groups is there only if there are several.
    """

    def __init__(
        self,
        options: WeightOptions,
        *,
        groups: int,
        kv_heads: int,
        rotary: bool = False,
        max_wavelength: float = 10_000.0,
        qk_norm: bool = False,
        epsilon: float = 1e-5,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(options, **kwargs)
        self.groups, self.kv_heads = groups, kv_heads
        self.rotary, self.max_wavelength = rotary, max_wavelength
        self.qk_norm = qk_norm
        if qk_norm:
            norm = {"centred": False, "epsilon": epsilon, "dtype": self.dtype_policy}
            self.query_norm = Norm(name="query_norm", **norm)
            self.key_norm = Norm(name="key_norm", **norm)
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def build(self, inputs_shape: tuple, context_shape: tuple | None = None) -> None:
        """Create the maps; keys and values are those of the context, if there is one."""
        size = inputs_shape[-1]
        self.head_dim = size // (self.groups * self.kv_heads)
        kv_size = 2 * self.kv_heads * self.head_dim
        if context_shape is None:
            self.add_projection("query_key_value", size, size + kv_size)
        else:
            self.add_projection("query", size, size)
            self.add_projection("key_value", context_shape[-1], kv_size)
        self.add_projection("output", size, size, residual=True)
        if self.qk_norm:
            self.query_norm.build((None, self.head_dim))
            self.key_norm.build((None, self.head_dim))

    def call(
        self,
        inputs: Any,
        context: Any = None,
        visible: Any = None,
        may_be_blind: bool = False,
        cache: Any = None,
        position: Any = 0,
        return_scores: bool = False,
        training: bool | None = None,
    ) -> tuple[Any, Any, Any]:
        """The attended values, the scores if wanted, and the cache with the new keys and values.

        `visible` tells which keys a query may look at, (batch or 1, queries or 1, keys), and
        `may_be_blind` whether there may be queries that see none: their values are 0.
        """
        if context is None:
            parts = self._heads(self.project("query_key_value", inputs), self.groups + 2)
        else:
            parts = [
                *self._heads(self.project("query", inputs), self.groups),
                *self._heads(self.project("key_value", context), 2),
            ]
        *queries, key, value = parts
        query = queries[0] if self.groups == 1 else ops.stack(queries)
        if self.qk_norm:
            query, key = self.query_norm(query), self.key_norm(key)
        if self.rotary:
            query = rotated(query, position, self.max_wavelength)
            key = rotated(key, position, self.max_wavelength)
        if cache is not None:
            cache = with_keys(cache, key, value, position)
            key, value = cache["key"], cache["value"]
        # The queries are scaled, not the scores: there are fewer of them.
        query = query * self.head_dim**-0.5
        hidden = scores = None
        if visible is not None:
            visible = ops.expand_dims(visible, 1)
            wide = keras.backend.result_type(self.compute_dtype, "float32")
            hidden = ops.cast(ops.where(visible, 0.0, _OUT_OF_SIGHT), wide)
        if return_scores or self.dropout.rate:
            scores = attention_scores(query, key, hidden)
            values = ops.matmul(self.dropout(scores, training=training), value)
        else:
            values = attended(query, key, value, hidden)
        if may_be_blind:
            seeing = ops.cast(ops.any(visible, axis=-1, keepdims=True), self.compute_dtype)
            values = values * seeing
            scores = None if scores is None else scores * seeing
        scores = self._by_head(scores) if return_scores else None
        return self.project("output", self._joined(values)), scores, cache

    def _heads(self, projected: Any, parts: int) -> list[Any]:
        """Tensors (batch, kv_heads, length, head_dim) from (batch, length, features)."""
        batch, length = ops.shape(projected)[:2]
        split = ops.reshape(projected, (batch, length, parts, self.kv_heads, self.head_dim))
        return ops.unstack(ops.transpose(split, (2, 0, 3, 1, 4)), parts)

    def _joined(self, values: Any) -> Any:
        """(batch, length, features) from the values of all heads."""
        batch, _, length, _ = ops.shape(values)[-4:]
        order = (0, 2, 1, 3) if self.groups == 1 else (1, 3, 0, 2, 4)
        size = self.groups * self.kv_heads * self.head_dim
        return ops.reshape(ops.transpose(values, order), (batch, length, size))

    def _by_head(self, scores: Any) -> Any:
        """(batch, heads, queries, keys); head i uses the keys of head i % kv_heads."""
        if self.groups == 1:
            return scores
        batch, _, queries, keys = ops.shape(scores)[-4:]
        heads = self.groups * self.kv_heads
        return ops.reshape(ops.swapaxes(scores, 0, 1), (batch, heads, queries, keys))


def check_heads(embed_dim: int, num_heads: int, num_kv_heads: int, rotary: bool) -> None:
    """Raise where the sizes of heads are not whole numbers, or odd where they must be even."""
    if embed_dim % num_heads:
        raise ValueError(
            "`num_heads` must divide `embed_dim`. "
            f"Received: num_heads={num_heads}, embed_dim={embed_dim}"
        )
    if num_heads % num_kv_heads:
        raise ValueError(
            "`num_kv_heads` must divide `num_heads`. "
            f"Received: num_kv_heads={num_kv_heads}, num_heads={num_heads}"
        )
    if rotary and embed_dim // num_heads % 2:
        raise ValueError(
            "`rotary` needs heads of an even size, embed_dim / num_heads. "
            f"Received: rotary=True, embed_dim={embed_dim}, num_heads={num_heads}"
        )

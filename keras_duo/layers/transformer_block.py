"""TransformerBlock: attention and a feed-forward network, each with its residual connection."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_duo._register import register
from keras_duo._serialize import activation_from_config, resolve_activation
from keras_duo._validate import choice, flag, integer, number, optional
from keras_duo.layers._attention import Attention, check_heads
from keras_duo.layers._cache import check_cache, empty_cache, with_mask, within_room
from keras_duo.layers._feed_forward import FeedForward, check_causal
from keras_duo.layers._projection import WeightOptions
from keras_duo.layers._residual import Residual
from keras_duo.layers._visibility import blanked, check_context, checked_mask, visible_keys

_SIZE = integer(at_least=1)
_RATE = number(at_least=0, below=1)
_NORMALIZATION = choice("layer", "rms")


@register
class TransformerBlock(keras.layers.Layer):
    """x = N(x + A(x)); x = N(x + F(x)). With `norm_first`: x = x + A(N(x)); x = x + F(N(x)).

    A is multi-head attention, softmax(Q K^T / sqrt(d)) V, F is f(x W + b) W' + b', N normalizes
    each position. With a `context`, cross-attention to it stands between the two.

    A Keras mask, True where there is something, is honoured and passed on: what stands in the
    padding counts for nothing, in values and gradients, even where it is NaN. Queries that see no
    key get 0 from the attention.

    Args:
        embed_dim: Size of the last axis of input and output, a multiple of `num_heads`.
        num_heads: Number of heads of queries.
        ff_dim: Units of the feed-forward network.
        dropout: Share of the entries of A and F dropped in training, in [0, 1).
        activation: f: a name from `keras.activations`, a function, or a layer, learned ones too.
        norm_first: Whether the inputs of A and F are normalized, and not the sums.
        normalization: "layer", or "rms", which keeps the mean.
        epsilon: What is added to the variance, > 0.
        use_causal_mask: Whether a position sees none behind it.
        num_kv_heads: Heads of keys and values, a divisor of `num_heads`; None: as many. Head i of
            the queries uses head i % num_kv_heads.
        rotary: Whether queries and keys carry their position as a rotation, entry i with i + d/2.
        max_wavelength: Of the slowest rotation, in positions over 2 pi, > 1.
        qk_norm: Whether queries and keys are RMS-normalized.
        gated: Whether F is (f(x W + b) * (x V + c)) W' + b'.
        attention_dropout: Share of the attention scores dropped in training.
        drop_path: Share of the examples for which A, and then F, is skipped in training.
        use_bias: Whether maps and layer normalization have biases.
        layer_scale: None, or what learned factors of each channel of A and F start from.
        kernel_initializer: Initial kernels.
        residual_initializer: Initial output kernels of A and F; None: `kernel_initializer`.
        bias_initializer: Initial biases.
        kernel_regularizer: Penalty on each kernel, added to the loss of the model.
        **kwargs: `activity_regularizer`, `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: (batch, length, embed_dim).
        context: (batch, other length, features), in every call or in none.
        mask: (batch, length); by default the Keras mask of `inputs`. `context_mask` is that of the
            context.
        attention_mask: (batch or 1, length, length), boolean, True where a query may look. With a
            cache its last axis is that of the cache.
        cache, position: see `initial_cache`.
        return_attention_scores: Whether to return (batch, heads, length, length) scores too, and
            those of the context after them.

    Input shape: (batch, length, embed_dim). Output shape: the same; with more asked for, a tuple
    of output, scores, and the cache.

    Raises:
        ValueError: If an argument is out of range, `num_heads` does not divide `embed_dim` or
            `num_kv_heads` does not divide `num_heads`, a mask is not boolean or has another shape,
            or an activation under `use_causal_mask` takes a mean over positions.

    Partner: `SparseCategoricalFocal(from_logits=True)` or Keras' SparseCategoricalCrossentropy on
    a linear output for tokens; the activation inside is any of Keras' or ours.

    Source:
        Vaswani et al., Attention Is All You Need, 2017, arXiv:1706.03762. Rotary: arXiv:2104.09864.
        Grouped queries: 2305.13245. Gate: 2002.05202. RMS: 1910.07467. QK norm: 2010.04245. Drop
        path: 1603.09382. Layer scale: 2103.17239.

    Example:
        >>> import numpy as np, keras_duo
        >>> block = keras_duo.TransformerBlock(32, num_heads=4, ff_dim=64, activation="gelu")
        >>> block(np.ones((2, 5, 32))).shape
        TensorShape([2, 5, 32])
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        ff_dim: int,
        dropout: float = 0.0,
        activation: str | Callable = "relu",
        norm_first: bool = False,
        normalization: str = "layer",
        epsilon: float = 1e-5,
        use_causal_mask: bool = False,
        num_kv_heads: int | None = None,
        rotary: bool = False,
        max_wavelength: float = 10_000.0,
        qk_norm: bool = False,
        gated: bool = False,
        attention_dropout: float = 0.0,
        drop_path: float = 0.0,
        use_bias: bool = True,
        layer_scale: float | None = None,
        kernel_initializer: Any = "glorot_uniform",
        residual_initializer: Any = None,
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.embed_dim = _SIZE("embed_dim", embed_dim)
        self.num_heads = _SIZE("num_heads", num_heads)
        self.ff_dim = _SIZE("ff_dim", ff_dim)
        self.dropout = _RATE("dropout", dropout)
        self.norm_first = flag()("norm_first", norm_first)
        self.normalization = _NORMALIZATION("normalization", normalization)
        self.epsilon = number(above=0)("epsilon", epsilon)
        self.use_causal_mask = flag()("use_causal_mask", use_causal_mask)
        self.num_kv_heads = optional(_SIZE)("num_kv_heads", num_kv_heads)
        self.rotary = flag()("rotary", rotary)
        self.max_wavelength = number(above=1)("max_wavelength", max_wavelength)
        self.qk_norm = flag()("qk_norm", qk_norm)
        self.gated = flag()("gated", gated)
        self.attention_dropout = _RATE("attention_dropout", attention_dropout)
        self.drop_path = _RATE("drop_path", drop_path)
        self.use_bias = flag()("use_bias", use_bias)
        self.layer_scale = optional(number())("layer_scale", layer_scale)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.residual_initializer = keras.initializers.get(residual_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        activation = resolve_activation(activation)
        kv_heads = self.num_kv_heads or self.num_heads
        check_heads(self.embed_dim, self.num_heads, kv_heads, self.rotary)
        if self.use_causal_mask:
            check_causal(activation)

        weights = WeightOptions(
            use_bias=self.use_bias,
            kernel_initializer=self.kernel_initializer,
            residual_initializer=self.residual_initializer or self.kernel_initializer,
            bias_initializer=self.bias_initializer,
            kernel_regularizer=self.kernel_regularizer,
        )
        self._residual_options = {
            "normalization": self.normalization,
            "epsilon": self.epsilon,
            "use_bias": self.use_bias,
            "norm_first": self.norm_first,
            "dropout": self.dropout,
            "drop_path": self.drop_path,
            "layer_scale": self.layer_scale,
            "dtype": self.dtype_policy,
        }
        self._attention_options = {
            "options": weights,
            "groups": self.num_heads // kv_heads,
            "kv_heads": kv_heads,
            "qk_norm": self.qk_norm,
            "epsilon": self.epsilon,
            "dropout": self.attention_dropout,
            "dtype": self.dtype_policy,
        }
        rotation = {"rotary": self.rotary, "max_wavelength": self.max_wavelength}
        self.attention = Attention(**self._attention_options, **rotation, name="attention")
        self.attention_residual = Residual(**self._residual_options, name="attention_residual")
        self.cross_attention: Attention | None = None
        self.feed_forward = FeedForward(
            weights,
            units=self.ff_dim,
            activation=activation,
            gated=self.gated,
            name="feed_forward",
            dtype=self.dtype_policy,
        )
        self.feed_forward_residual = Residual(
            **self._residual_options, name="feed_forward_residual"
        )

    @property
    def activation(self) -> Callable:
        """The activation of the feed-forward network."""
        # A property: an attribute would be taken for an activation that this layer applies itself.
        return self.feed_forward.activation

    def build(self, inputs_shape: tuple, context_shape: tuple | None = None) -> None:
        """Create the weights; those of cross-attention if the first call has a context."""
        if len(inputs_shape) != 3 or inputs_shape[-1] != self.embed_dim:
            raise ValueError(
                "`embed_dim` must be the last of the three axes of the input, (batch, length, "
                f"embed_dim). Received: embed_dim={self.embed_dim}, "
                f"input_shape={tuple(inputs_shape)}"
            )
        if context_shape is not None:
            if len(context_shape) != 3 or context_shape[-1] is None:
                raise ValueError(
                    "`context` must have the shape (batch, length, features), with a known number "
                    f"of features. Received: context.shape={tuple(context_shape)}"
                )
            self.cross_attention = Attention(**self._attention_options, name="cross_attention")
            self.cross_attention.build(inputs_shape, context_shape)
            self.cross_attention_residual = Residual(
                **self._residual_options, name="cross_attention_residual"
            )
            self.cross_attention_residual.build(inputs_shape)
        for part in (self.attention, self.feed_forward):
            part.build(inputs_shape)
        for residual in (self.attention_residual, self.feed_forward_residual):
            residual.build(inputs_shape)
        self.input_spec = keras.layers.InputSpec(ndim=3, axes={-1: self.embed_dim})

    def call(
        self,
        inputs: Any,
        context: Any = None,
        mask: Any = None,
        inputs_mask: Any = None,
        context_mask: Any = None,
        attention_mask: Any = None,
        cache: Any = None,
        position: Any = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
    ) -> Any:
        """The output; with more asked for, a tuple of output, scores, and the cache."""
        # Keras calls the mask of the first tensor `mask` where that is the only one, and
        # `inputs_mask` where there are others.
        mask = inputs_mask if mask is None else mask
        check_context(context, self.cross_attention is not None)
        check_cache(cache, self.use_causal_mask, inputs, position)
        x, mask = blanked("mask", inputs, mask)
        context, context_mask = blanked("context_mask", context, context_mask)
        start = 0 if position is None else position
        if cache is not None:
            cache = with_mask(cache, mask, x, start)
        key_mask = mask if cache is None else cache["mask"]
        keys = x if cache is None else key_mask
        attention_mask = checked_mask(
            "attention_mask", attention_mask, ((1, x.shape[0]), x.shape[1], keys.shape[1])
        )
        y, scores, cache = self.attention(
            self.attention_residual.before(x),
            visible=visible_keys(
                ops.shape(x)[1],
                ops.shape(keys)[1],
                causal=self.use_causal_mask,
                position=start,
                key_mask=key_mask,
                attention_mask=attention_mask,
            ),
            may_be_blind=key_mask is not None or attention_mask is not None,
            cache=cache,
            position=start,
            return_scores=return_attention_scores,
            training=training,
        )
        x = self.attention_residual.after(x, y, training)
        extras = [scores]
        if self.cross_attention is not None:
            y, scores, _ = self.cross_attention(
                self.cross_attention_residual.before(x),
                context=context,
                visible=visible_keys(None, None, key_mask=context_mask),
                may_be_blind=context_mask is not None,
                return_scores=return_attention_scores,
                training=training,
            )
            x = self.cross_attention_residual.after(x, y, training)
            extras.append(scores)
        y = self.feed_forward(self.feed_forward_residual.before(x), mask=mask)
        x = self.feed_forward_residual.after(x, y, training)
        if cache is not None:
            x = within_room(cache, start, x)
        extras = extras if return_attention_scores else []
        extras = extras if cache is None else [*extras, cache]
        return (x, *extras) if extras else x

    def initial_cache(self, batch_size: int, max_length: int) -> dict[str, Any]:
        """An empty cache: the keys, values and mask of up to `max_length` positions.

        `y, cache = block(x, cache=cache, position=p)` takes the inputs from position p on, of any
        length, and gives the outputs of a call on all inputs up to there; a mask covers the new
        positions. The block must be built, with `use_causal_mask`. A position past the end is an
        error where it is known before the step runs, and gives NaN where it is not.
        """
        if not self.built:
            raise ValueError(f"A cache belongs to a block that is built. Received: {self}")
        attention = self.attention
        return empty_cache(
            batch_size, attention.kv_heads, max_length, attention.head_dim, self.compute_dtype
        )

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """The shape of the input."""
        return input_shape

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """What a call returns, which is more than one tensor where more was asked for."""
        return keras.Operation.compute_output_spec(self, *args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Every argument of the constructor."""
        return {
            **super().get_config(),
            **{
                name: keras.saving.serialize_keras_object(getattr(self, name))
                for name in _ARGUMENTS
            },
            "activation": keras.activations.serialize(self.activation),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "TransformerBlock":
        """Rebuild the layer; the activation must be Keras' own or a registered one."""
        activation = activation_from_config(config.get("activation", "relu"))
        return cls(**{**config, "activation": activation})


_ARGUMENTS = (
    *("embed_dim", "num_heads", "ff_dim", "dropout", "norm_first", "normalization", "epsilon"),
    *("use_causal_mask", "num_kv_heads", "rotary", "max_wavelength", "qk_norm", "gated"),
    *("attention_dropout", "drop_path", "use_bias", "layer_scale", "kernel_initializer"),
    *("residual_initializer", "bias_initializer", "kernel_regularizer"),
)

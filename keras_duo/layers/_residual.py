"""The residual connection around a branch: where it is normalized, and what is dropped of it."""

from typing import Any

import keras

from keras_duo.layers._norm import Norm


class Residual(keras.layers.Layer):
    """x + s * y with y = f(N(x)), or N(x + s * y) with y = f(x); f is applied by the block."""

    def __init__(
        self,
        *,
        normalization: str,
        epsilon: float,
        use_bias: bool,
        norm_first: bool,
        dropout: float,
        drop_path: float,
        layer_scale: float | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.norm_first, self.layer_scale = norm_first, layer_scale
        self.norm = Norm(
            centred=normalization == "layer",
            epsilon=epsilon,
            use_bias=use_bias,
            name="norm",
            dtype=self.dtype_policy,
        )
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        self.drop_path = keras.layers.Dropout(
            drop_path, noise_shape=(None, 1, 1), dtype=self.dtype_policy
        )

    def build(self, input_shape: tuple) -> None:
        """Create the weights of N, and s."""
        self.norm.build(input_shape)
        if self.layer_scale is not None:
            self.scale = self.add_weight(
                shape=(input_shape[-1],),
                name="scale",
                initializer=keras.initializers.Constant(self.layer_scale),
            )

    def before(self, x: Any) -> Any:
        """What the branch gets."""
        return self.norm(x) if self.norm_first else x

    def after(self, x: Any, y: Any, training: bool | None) -> Any:
        """What the block goes on with, once the branch has made `y`."""
        y = self.dropout(y, training=training)
        if self.layer_scale is not None:
            y = y * self.scale
        x = x + self.drop_path(y, training=training)
        return x if self.norm_first else self.norm(x)

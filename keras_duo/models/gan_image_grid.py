"""ImageGrid: what a generator makes of the same latent vectors, epoch after epoch."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_duo._validate import integer, number

_AT_LEAST_ONE = integer(at_least=1)
# Pixels, below which an image is hard to see.
_SMALLEST = 56


class ImageGrid(keras.callbacks.Callback):
    """Writes a grid of samples after each epoch as PNG, and all of them as an animated GIF.

    The latent vectors are drawn once: each place of the grid shows one of them as it develops. The
    random state of the training is not touched. Needs Pillow: `pip install "keras-duo[plots]"`.

    Args:
        folder: Where `epoch_0001.png`, ... and, when training ends, `samples.gif` are written. It
            is made if it is missing.
        rows: Rows of the grid.
        columns: Columns of the grid.
        labels: Of a conditional GAN: one label for each place, row by row, or one for each column.
        value_range: The values that are black and white; others are clipped. (-1, 1) belongs to a
            generator that ends in tanh, (0, 1) to one that ends in a sigmoid.
        every: Epochs from one picture to the next.
        milliseconds: How long the GIF shows a picture, of which the last one stays longer.
        seed: Which latent vectors.

    Raises:
        ValueError: If an argument is out of range, or the model makes no images: (height, width),
            or (height, width, channels) of 1 or 3 channels.
        ImportError: Without Pillow.

    Example:
        >>> import keras_duo
        >>> grid = keras_duo.ImageGrid("samples", rows=4, columns=4)
        >>> # gan.fit(images, epochs=10, callbacks=[grid])
    """

    def __init__(
        self,
        folder: str | Path,
        rows: int = 8,
        columns: int = 8,
        labels: Any = None,
        value_range: tuple[float, float] = (-1.0, 1.0),
        every: int = 1,
        milliseconds: int = 250,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.rows = _AT_LEAST_ONE("rows", rows)
        self.columns = _AT_LEAST_ONE("columns", columns)
        self.every = _AT_LEAST_ONE("every", every)
        self.milliseconds = _AT_LEAST_ONE("milliseconds", milliseconds)
        self.seed = integer()("seed", seed)
        self.value_range = _range(value_range)
        self.labels = None if labels is None else self._one_each(np.asarray(labels))
        self._image = _pillow()
        self._last = 0

    def on_train_begin(self, logs: Any = None) -> None:
        """Draw the latent vectors."""
        shape = self.model.example_shape
        if len(shape) not in (2, 3) or (len(shape) == 3 and shape[-1] not in (1, 3)):
            raise ValueError(
                "ImageGrid needs a model that makes images of 1 or 3 channels. "
                f"Received: examples of shape {shape}"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        count = self.rows * self.columns
        latent = keras.random.normal((count, self.model.latent_dim), seed=self.seed)
        self._inputs = latent if self.labels is None else [latent, self.labels]

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write the picture of this epoch."""
        self._last = epoch + 1
        if self._last % self.every == 0:
            self._image.fromarray(self.grid()).save(self._path(self._last))

    def on_train_end(self, logs: Any = None) -> None:
        """Write the GIF of all pictures up to the last epoch, also those from before a resume."""
        paths = [self._path(epoch) for epoch in range(1, self._last + 1)]
        frames = [self._image.open(path) for path in paths if path.exists()]
        if frames:
            durations = [self.milliseconds] * (len(frames) - 1) + [8 * self.milliseconds]
            frames[0].save(
                self.folder / "samples.gif",
                save_all=True,
                append_images=frames[1:],
                duration=durations,
                loop=0,
            )
        for frame in frames:
            frame.close()

    def grid(self) -> np.ndarray:
        """The picture as it would be drawn now: bytes, (height, width) or (height, width, 3)."""
        images = ops.convert_to_numpy(self.model.predict(self._inputs, verbose=0)).astype("float32")
        low, high = self.value_range
        images = np.clip((images - low) / (high - low), 0, 1)
        images = np.round(255 * images).astype("uint8").reshape(len(images), *images.shape[1:3], -1)
        # Small images are enlarged without smoothing, and a line lies between them.
        zoom = max(1, _SMALLEST // images.shape[1])
        images = images.repeat(zoom, axis=1).repeat(zoom, axis=2)
        images = np.pad(images, ((0, 0), (0, 1), (0, 1), (0, 0)), constant_values=128)
        height, width, channels = images.shape[1:]
        tiles = images.reshape(self.rows, self.columns, height, width, channels)
        whole = tiles.swapaxes(1, 2).reshape(self.rows * height, self.columns * width, channels)
        return whole[..., 0] if channels == 1 else whole

    def _path(self, epoch: int) -> Path:
        return self.folder / f"epoch_{epoch:04d}.png"

    def _one_each(self, labels: np.ndarray) -> np.ndarray:
        count = self.rows * self.columns
        if labels.ndim and len(labels) == self.columns:
            return np.concatenate([labels] * self.rows)
        if not labels.ndim or len(labels) != count:
            raise ValueError(
                f"`labels` must hold one label for each of {count} places, or for each of "
                f"{self.columns} columns. Received: labels.shape={labels.shape}"
            )
        return labels


def _range(value: Any) -> tuple[float, float]:
    bound = number()
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise ValueError(
            f"`value_range` must be two numbers, black and white. Received: value_range={value!r}"
        )
    low, high = (bound("value_range", end) for end in value)
    if low == high:
        raise ValueError(
            f"`value_range` must have two different ends. Received: value_range={value!r}"
        )
    return low, high


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError('ImageGrid needs Pillow: pip install "keras-duo[plots]"') from error
    return Image

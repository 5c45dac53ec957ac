"""Models that own their training step."""

from keras_duo.models.gan import GAN
from keras_duo.models.gan_image_grid import ImageGrid

__all__ = ["GAN", "ImageGrid"]

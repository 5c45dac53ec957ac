"""ImageGrid: the pictures it writes, and that the training does not notice."""

import sys

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

import keras_duo as duo

X = np.zeros((32, 4, 3, 1), "float32")


def game(channels=1, side=(4, 3)):
    shape = (*side, channels)
    keras.utils.set_random_seed(0)
    generator = keras.Sequential(
        [keras.Input((5,)), layers.Dense(int(np.prod(shape))), layers.Reshape(shape)]
    )
    discriminator = keras.Sequential([keras.Input(shape), layers.Flatten(), layers.Dense(1)])
    gan = duo.GAN(generator, discriminator, latent_dim=5, seed=1)
    gan.compile("sgd")
    return gan


def test_a_picture_an_epoch_and_all_of_them_in_motion(tmp_path):
    gan, plain = game(), game()
    grid = duo.ImageGrid(tmp_path / "new" / "folder", rows=2, columns=3, every=2)
    for model, callbacks in ((gan, [grid]), (plain, [])):
        model.fit(X, epochs=4, verbose=0, shuffle=False, callbacks=callbacks)
    names = sorted(path.name for path in grid.folder.iterdir())
    assert names == ["epoch_0002.png", "epoch_0004.png", "samples.gif"]
    with Image.open(grid.folder / "samples.gif") as gif:
        assert gif.n_frames == 2
    with Image.open(grid.folder / "epoch_0004.png") as image:
        drawn = np.asarray(image)
    np.testing.assert_array_equal(drawn, grid.grid())
    for one, other in zip(gan.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(gan.seeds.state.numpy(), plain.seeds.state.numpy())


def test_each_place_holds_one_latent_vector(tmp_path):
    gan = game()
    grid = duo.ImageGrid(tmp_path, rows=2, columns=3, value_range=(-2, 2), seed=7)
    grid.set_model(gan)
    grid.on_train_begin()
    latent = keras.random.normal((6, 5), seed=7)
    images = np.clip((keras.ops.convert_to_numpy(gan.generator(latent)) + 2) / 4, 0, 1)
    expected = np.round(255 * images[..., 0]).astype(int)
    zoom = 56 // 4
    height, width = 4 * zoom + 1, 3 * zoom + 1
    picture = grid.grid()
    assert picture.shape == (2 * height, 3 * width)
    for place in range(6):
        row, column = divmod(place, 3)
        tile = picture[row * height :, column * width :][: 4 * zoom : zoom, : 3 * zoom : zoom]
        assert np.abs(tile.astype(int) - expected[place]).max() <= 1


def test_a_resumed_run_shows_the_epochs_before(tmp_path):
    gan = game()
    for epochs in (2, 4):
        grid = duo.ImageGrid(tmp_path, rows=1, columns=1)
        gan.fit(X, initial_epoch=epochs - 2, epochs=epochs, verbose=0, callbacks=[grid])
    with Image.open(tmp_path / "samples.gif") as gif:
        assert gif.n_frames > 2


def test_colour(tmp_path):
    grid = duo.ImageGrid(tmp_path, rows=1, columns=2)
    grid.set_model(game(channels=3, side=(60, 60)))
    grid.on_train_begin()
    assert grid.grid().shape == (61, 122, 3)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"rows": 0}, "rows"),
        ({"columns": 1.5}, "columns"),
        ({"every": 0}, "every"),
        ({"milliseconds": 0}, "milliseconds"),
        ({"seed": None}, "seed"),
        ({"value_range": (1, 1)}, "value_range"),
        ({"value_range": 1}, "value_range"),
        ({"labels": [1, 2, 3]}, "labels"),
    ],
)
def test_bad_arguments(arguments, name, tmp_path):
    with pytest.raises(ValueError, match=f"`{name}` must.*Received"):
        duo.ImageGrid(tmp_path, **arguments)


def test_what_is_no_image(tmp_path):
    grid = duo.ImageGrid(tmp_path)
    grid.set_model(game(channels=2))
    with pytest.raises(ValueError, match="images of 1 or 3 channels"):
        grid.on_train_begin()


def test_labels_of_the_columns(tmp_path):
    grid = duo.ImageGrid(tmp_path, rows=2, columns=3, labels=[0, 1, 2])
    assert grid.labels.tolist() == [0, 1, 2, 0, 1, 2]


def test_without_pillow_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r'pip install "keras-duo\[plots\]"'):
        duo.ImageGrid(tmp_path)

"""Image files of every kind as pixels of 0-255."""

import contextlib

import numpy as np

from keras_pdenets.utils.extras import require
from keras_pdenets.utils.text import printable

ENDINGS = {
    ".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm",
}  # fmt: skip


def read_image(path, channels=3):
    """The pixels of an image file: uint8 of shape (height, width, channels), 0-255.

    It is turned as its EXIF data say, what is transparent stands before white, and palettes, CMYK
    and 16 bits are converted.

    Args:
        path: The file.
        channels: 3: colour; 1: shades of grey.

    Raises:
        ValueError: If it cannot be read; the message names it.
    """
    turn = require("PIL.ImageOps", "images").exif_transpose
    with opened(path) as picture:
        return pixels_of(turn(picture), channels)


def image_size(path):
    """Height and width, which the beginning of a file tells."""
    with opened(path) as picture:
        return picture.height, picture.width


def channels_of(path):
    """1 where a file says that it is in shades of grey, else 3."""
    with opened(path) as picture:
        return 1 if picture.mode in ("1", "L", "LA", "F") or picture.mode.startswith("I") else 3


@contextlib.contextmanager
def opened(file, name=None):
    """An image file of Pillow; whatever goes wrong in the context is an error that names it."""
    image = require("PIL.Image", "images")
    read = image.open
    try:
        with read(file) as picture:
            yield picture
    # A broken file may raise what its decoder happens to stumble over.
    except (OSError, ValueError, SyntaxError, EOFError, image.DecompressionBombError) as error:
        raise ValueError(
            f"{name or file} cannot be read as an image ({printable(str(error), 200)}). Remove it; "
            "in a folder of your own unreadable='skip' (--skip-unreadable) leaves it out."
        ) from error


def pixels_of(picture, channels):
    """The pixels of a picture of Pillow: uint8 of shape (height, width, channels)."""
    image = require("PIL.Image", "images")
    if picture.mode.startswith("I"):  # 16 bits, in one of several ways
        deep = np.clip(np.rint(np.asarray(picture, "float64") / 257), 0, 255)
        picture = image.fromarray(deep.astype("uint8"))
    elif picture.mode == "F":
        raise ValueError("its pixels are floats, whose range is not known")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = image.new("RGBA", picture.size, "white")
        picture = image.alpha_composite(white, picture)
    pixels = np.asarray(picture.convert("RGB" if channels == 3 else "L"))
    return pixels if channels == 3 else pixels[..., None]

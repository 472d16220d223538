"""What is done to the images of a batch: mirrored, cropped, brought to a size, to 0-255.

All draws of an epoch come from NumPy, by seed, epoch and place in the epoch: they are the same on
every backend, in every process and after a resume.
"""

import math
from dataclasses import dataclass

import numpy as np

from keras_pdenets.data.resizing import resize, to_square
from keras_pdenets.utils.checks import as_integer

AREA = "area"
LARGEST_SIDE = 2**16

# Share of the image, and width by height, of a random part: Szegedy et al. 2014, arXiv 1409.4842.
_AREAS, _RATIOS = (0.08, 1.0), (3 / 4, 4 / 3)
_TRIES = 100
_ORDER, _FLIPS, _CROPS, _AREA, _LAYERS = range(5)  # streams of random numbers


def check_crop(crop):
    """Return `crop`, or raise ValueError unless it is what `load_dataset` takes."""
    if isinstance(crop, str) and crop == AREA:
        return crop
    number = as_integer(crop)
    if number is None or not 0 <= number <= LARGEST_SIDE:
        raise ValueError(
            f"`crop` must be an integer from 0 to {LARGEST_SIDE}, or {AREA!r}. "
            f"Received: crop={crop!r}"
        )
    return number


@dataclass(frozen=True)
class Change:
    """What is done to every image of an epoch.

    Args:
        size: Side that images are brought to; None: as they are.
        square: Whether all images of the set are square.
        flip: Mirror one half.
        crop: As in `load_dataset`.
        scale: Factor that brings the pixels to 0-255; None: 1.
        seed: Of the draws.
        epoch: Mixed into the seed.
    """

    size: int | None
    square: bool
    flip: bool
    crop: int | str
    scale: float | None
    seed: int
    epoch: int

    def order(self, count):
        """The order of the images."""
        return self._stream(_ORDER).permutation(count)

    def numbers(self, batch):
        """What the draws of Keras' layers follow from in a batch."""
        return [self.seed % 2**63, self.epoch, _LAYERS, batch]

    def draws(self, count):
        """Which images are mirrored, and the corners of the crops, of a whole epoch."""
        flips = self._stream(_FLIPS).random(count) < 0.5 if self.flip else None
        corners = None
        if self.crop and self.crop != AREA:
            corners = self._stream(_CROPS).integers(0, 2 * self.crop + 1, (count, 2))
        return flips, corners

    def __call__(self, images, places, draws):
        """A batch of augmented images.

        Args:
            images: Array (n, h, w, c) of images of one shape.
            places: Number of each in the epoch.
            draws: What `draws` gave.
        """
        flips, corners = draws
        if flips is not None:
            images = np.where(flips[places][:, None, None, None], images[:, :, ::-1], images)
        if corners is not None:
            images = crop(images, corners[places], self.crop)
        elif self.crop == AREA:
            images = np.concatenate(
                [self._cut(image[None], i) for image, i in zip(images, places, strict=True)]
            )
        images = np.asarray(images, "float32")
        if self.size is not None and images.shape[1:3] != (self.size, self.size):
            images = to_square(images, self.size, self.square)
        return images if self.scale is None else images * np.float32(self.scale)

    def _stream(self, *numbers):
        return np.random.default_rng([self.seed % 2**63, self.epoch, *numbers])

    def _cut(self, image, place):
        """A random part of an image, brought to a square or to the size of the image."""
        height, width = image.shape[1:3]
        top, left, h, w = area(self._stream(_AREA, int(place)), height, width)
        part = image[:, top : top + h, left : left + w].astype("float32")
        sides = (height, width) if self.size is None else (self.size, self.size)
        return resize(part, *sides)


def crop(images, corners, margin):
    """Images of the same size, cut out of images with zeros around them."""
    count, height, width = images.shape[:3]
    padded = np.pad(images, [(0, 0), (margin, margin), (margin, margin), (0, 0)])
    rows = corners[:, :1] + np.arange(height)  # (n, h)
    columns = corners[:, 1:] + np.arange(width)
    return padded[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


def area(stream, height, width):
    """Top, left, height and width of a random part of an image."""
    for _ in range(_TRIES):
        share, ratio = stream.uniform(*_AREAS), stream.uniform(*_RATIOS)
        w = round(math.sqrt(share * height * width * ratio))
        h = round(math.sqrt(share * height * width / ratio))
        if 0 < w <= width and 0 < h <= height:
            return stream.integers(height - h + 1), stream.integers(width - w + 1), h, w
    return 0, 0, height, width

"""What is done to one image of a pipeline: mirrored, cropped, brought to a size, to 0-255."""

from keras_pdenets.utils.checks import as_integer

AREA = "area"
LARGEST_SIDE = 2**16

_RESIZE_MARGIN = 256 / 224  # the shorter side before the crop, as in ResNet's protocol
# Share of the image, and width by height, of a random part: Szegedy et al. 2014, arXiv 1409.4842.
_AREAS, _RATIOS = (0.08, 1.0), (3 / 4, 4 / 3)


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


def change(index, example, *, tf, size, flip, crop, seed, scale):
    """Augment and resize one image; the draw depends on the seed and its place in the epoch."""
    image, label = example
    if flip:
        image = tf.image.stateless_random_flip_left_right(image, (seed, 2 * index))
    if crop == AREA:
        image = _cut_area(tf, image, size, (seed, 2 * index + 1))
    elif crop:
        shape = image.shape if None not in image.shape else tf.shape(image)
        padded = tf.pad(image, [(crop, crop), (crop, crop), (0, 0)])
        image = tf.image.stateless_random_crop(padded, shape, (seed, 2 * index + 1))
    if size is not None and tuple(image.shape[:2]) != (size, size):
        image = _resize(tf, image, size)
    image = tf.cast(image, "float32")
    return image if scale is None else image * scale, label


def _cut_area(tf, image, size, seed):
    """A random part of an image, brought to a square or to the size of the image."""
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.shape(image),
        tf.zeros((1, 0, 4)),
        seed,
        min_object_covered=0.0,
        aspect_ratio_range=_RATIOS,
        area_range=_AREAS,
        use_image_if_no_bounding_boxes=True,
    )
    part = tf.slice(image, begin, extent)
    return tf.image.resize(part, image.shape[:2] if size is None else (size, size), antialias=True)


def _resize(tf, image, size):
    """Shrink or grow to a square; images that are not square are cut at the centre."""
    if image.shape[0] is not None and image.shape[0] == image.shape[1]:
        return tf.image.resize(image, (size, size), antialias=True)
    sides = tf.cast(tf.shape(image)[:2], "float32")
    scale = size * _RESIZE_MARGIN / tf.reduce_min(sides)
    sides = tf.cast(tf.math.ceil(sides * scale), "int32")
    image = tf.image.resize(image, sides, antialias=True)
    return tf.image.resize_with_crop_or_pad(image, size, size)

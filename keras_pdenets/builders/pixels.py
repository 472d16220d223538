"""Checks of the images for a net: shape, and pixels in 0-1 where it expects 0-255."""

import warnings

import numpy as np


def takes_pixels(model):
    """Whether a net normalises pixels 0-255 itself: it subtracts a mean above 1."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            if takes_pixels(layer):
                return True
        elif layer.name == "preprocessing":
            mean = layer.get_config().get("mean")
            return mean is not None and float(np.max(mean)) > 1
    return False


def warn_of_small_pixels(model, largest):
    """Warn if images for a net that expects pixels 0-255 have no pixel above 1.

    Args:
        model: The net that the images are for; None: any net that normalises them.
        largest: The largest pixel of the images, or the images.
    """
    largest = float(np.max(largest))
    if largest <= 1 and (model is None or takes_pixels(model)):
        name = "the net" if model is None else model.name
        warnings.warn(
            f"No pixel of the images is above 1 (the largest is {largest:g}), but {name} "
            "expects pixels 0-255, which it normalises itself: multiply them by 255, or build the "
            "net with include_preprocessing=False.",
            stacklevel=3,
        )


def check_images(flat, images, warn=True, name="images"):
    """The images as an array for the model; warns of pixels 0-1 instead of 0-255.

    Raises:
        ValueError: If there are none, their shape is not that of the model's input, or they hold
            NaN or infinite numbers.
    """
    images = np.asarray(images)
    wanted = tuple(flat.inputs[0].shape)[1:]
    if images.dtype.kind not in "biuf":
        raise ValueError(f"`{name}` must be an array of numbers. Received: {images.dtype}")
    if images.ndim != len(wanted) + 1 or any(
        side not in (None, given) for side, given in zip(wanted, images.shape[1:], strict=True)
    ):
        raise ValueError(
            f"`{name}` must be of shape {('n', *wanted)}, that of the model's input. "
            f"Received: shape {images.shape}"
        )
    if not len(images):
        raise ValueError(f"`{name}` must hold at least one image. Received: none")
    if not np.isfinite(images).all():
        raise ValueError(f"`{name}` must be finite. Received: NaN or infinite numbers")
    if warn:
        warn_of_small_pixels(flat, images)
    return images.astype(flat.inputs[0].dtype)

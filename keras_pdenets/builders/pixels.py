"""Images for a net: their shape, and pixels in 0-1 where it takes 0-255, said once."""

import warnings

import numpy as np


def takes_pixels(model):
    """Whether a net normalises pixels of 0-255 itself: a mean above 1 is subtracted inside."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            if takes_pixels(layer):
                return True
        elif layer.name == "preprocessing":
            mean = layer.get_config().get("mean")
            return mean is not None and float(np.max(mean)) > 1
    return False


def warn_of_small_pixels(model, largest):
    """Warn where images for a net that takes 0-255 have no pixel above 1.

    Args:
        model: The net that the images are for; None: some net that normalises them.
        largest: The largest pixel of the images, or the images.
    """
    largest = float(np.max(largest))
    if largest <= 1 and (model is None or takes_pixels(model)):
        name = "the net" if model is None else model.name
        warnings.warn(
            f"No pixel of the images is above 1 (the largest is {largest:g}), and {name} "
            "takes pixels of 0-255, which it normalises itself: multiply them by 255, or build the "
            "net with include_preprocessing=False.",
            stacklevel=3,
        )


def check_images(flat, images, warn=True, name="images"):
    """The images as the array that the model takes; pixels of 0-1 for 0-255 are warned of.

    Raises:
        ValueError: If there is none, they are of another shape than the model's input, or hold
            numbers that are not finite.
    """
    images = np.asarray(images)
    wanted = tuple(flat.inputs[0].shape)[1:]
    if images.dtype.kind not in "biuf":
        raise ValueError(f"`{name}` must be an array of numbers. Received: {images.dtype}")
    if images.ndim != len(wanted) + 1 or any(
        side not in (None, given) for side, given in zip(wanted, images.shape[1:], strict=True)
    ):
        raise ValueError(
            f"`{name}` must be of shape {('n', *wanted)}, as the model takes them. "
            f"Received: shape {images.shape}"
        )
    if not len(images):
        raise ValueError(f"`{name}` must hold at least one image. Received: none")
    if not np.isfinite(images).all():
        raise ValueError(f"`{name}` must be finite. Received: NaN or infinite numbers")
    if warn:
        warn_of_small_pixels(flat, images)
    return images.astype(flat.inputs[0].dtype)

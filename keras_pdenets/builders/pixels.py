"""Pixels in 0-1 where a net takes 0-255: seen, and said once."""

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

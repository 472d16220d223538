"""What is said where a device runs out of memory: the batch that would fit."""

import contextlib

import numpy as np

from keras_pdenets.utils.text import printable

# What the three backends call it.
_WORDS = ("out of memory", "resource_exhausted", "resourceexhausted", "oom when allocating")


@contextlib.contextmanager
def name_the_batch_that_fits(recipe, build, shape):
    """Turn an error for want of memory into one that names a batch size that was tried.

    Args:
        recipe: The recipe.
        build: Function that makes another model like the one that is trained.
        shape: Shape of an image.

    Raises:
        RuntimeError: If what is inside runs out of memory.
    """
    try:
        yield
    except Exception as error:  # each backend has its own
        if not is_out_of_memory(error):
            raise
        fits = _largest(recipe, build, shape)
        advice = "not even one image fits" if fits is None else f"batch_size={fits} fits (tried)"
        raise RuntimeError(
            f"The device has too little memory for batches of {recipe.batch_size} images of shape "
            f"{shape}: {advice}. That is another recipe, for another folder. Less memory is also "
            f"needed with dtype='mixed_bfloat16' and, in nets that have it, with remat=True. "
            f"({printable(str(error), 200)})"
        ) from error


def is_out_of_memory(error):
    """Whether a backend's error says that memory is short."""
    text = f"{type(error).__name__} {error}".lower()
    return isinstance(error, MemoryError) or any(word in text for word in _WORDS)


def _largest(recipe, build, shape):
    """The largest half, quarter, ... of the batch that a training step has memory for, or None."""
    count = recipe.batch_size // 2
    while count:
        images, labels = np.zeros((count, *shape), "float32"), np.zeros(count, "int64")
        try:
            build().train_on_batch(images, labels)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            count //= 2
        else:
            return count
    return None

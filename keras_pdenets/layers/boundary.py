"""Boundary conditions: the values that a 3-point stencil reads beyond the border."""

from keras import ops

from keras_pdenets.utils.checks import check_choice

# Row (or column) copied before the first and after the last one; None: zeros.
BOUNDARIES = {
    "zero": None,
    "replicate": (0, -1),  # homogeneous Neumann condition at the outer face of the pixel
    "reflect": (1, -2),  # homogeneous Neumann condition at the centre of the pixel
    "periodic": (-1, 0),
}


def check_boundary(boundary):
    """Return `boundary` if it is one of `BOUNDARIES`, or raise a ValueError."""
    return check_choice("boundary", boundary, BOUNDARIES)


def pad_border(images, axes, boundary):
    """Pad by one row or column on both sides along each of `axes`.

    Args:
        images: Tensor of rank 4.
        axes: Axes to pad.
        boundary: A key of `BOUNDARIES`.

    Returns:
        Tensor of rank 4, two longer along each of `axes`.
    """
    if BOUNDARIES[boundary] is None:
        return ops.pad(images, [(1, 1) if axis in axes else (0, 0) for axis in range(4)])
    for axis in axes:
        before, behind = (_slab(images, axis, i) for i in BOUNDARIES[boundary])
        images = ops.concatenate([before, images, behind], axis=axis)
    return images


def _slab(images, axis, index):
    """The row or column `index`, with its axis kept."""
    stop = index + 1 or None
    return images[tuple(slice(index, stop) if a == axis else slice(None) for a in range(4))]

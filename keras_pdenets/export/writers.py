"""Writers of formats, around Keras' own `model.export`."""

import keras


def keras_export(model, path, format, shape, **options):
    """Write a model with `model.export`.

    Args:
        model: A functional model.
        path: Where to write.
        format: Name of the format.
        shape: Shape of one image.
        **options: Further arguments of `model.export`.
    """
    model.export(str(path), format=format, verbose=False, **options)


def torch_export(model, path, format, shape):
    """The same for torch.export, with open sizes: Keras fixes the batch size at one."""
    from torch.export import Dim

    sizes = enumerate(model.inputs[0].shape[1:], start=1)
    # A named size must allow any value from zero, as the batch does and image sides do not.
    shapes = {0: Dim("batch"), **{i: Dim.DYNAMIC for i, size in sizes if size is None}}
    # Not Keras' own example, which has two pixels along open sides.
    example = keras.InputSpec(shape=(2, *shape), dtype=model.inputs[0].dtype)
    keras_export(
        model, path, format, shape, dynamic_shapes=shapes, input_signature=[example]
    )  # fmt: skip

"""How a model is written in a format: by Keras' own `model.export`, with what it leaves open."""

import keras


def keras_export(model, path, format, shape, **options):
    """Write a model as Keras does.

    Args:
        model: A functional model.
        path: Where to write.
        format: Name of the format.
        shape: Shape of one image.
        **options: Further arguments of `model.export`.
    """
    model.export(str(path), format=format, verbose=False, **options)


def torch_export(model, path, format, shape):
    """The same for torch.export, with sizes that stay open: Keras fixes the batch at one."""
    from torch.export import Dim

    sizes = enumerate(model.inputs[0].shape[1:], start=1)
    # A named size must be good from zero on, which the batch is and the sides of images are not.
    shapes = {0: Dim("batch"), **{i: Dim.DYNAMIC for i, size in sizes if size is None}}
    # Not Keras' own example, which has two pixels where a side is open.
    example = keras.InputSpec(shape=(2, *shape), dtype=model.inputs[0].dtype)
    keras_export(
        model, path, format, shape, dynamic_shapes=shapes, input_signature=[example]
    )  # fmt: skip

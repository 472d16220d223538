"""The docstring of the public builders."""

DOCUMENTATION = """{builder}: {reference}.

{count:,} trainable parameters (small stem, 3 input channels, 10 classes). The arguments follow
`keras.applications`, in the same order; images have pixels 0-255.

Args:
    include_top: Whether to end in global pooling and a classifier.
    weights: `"hub"` ({hub}), a name in
        `list_presets()`, `"hf://organisation/repo[@revision]"`, a safetensors file or a folder with
        `model.safetensors`, or None for random weights{random}. Random for None only.
    input_tensor: Symbolic tensor to use as the input.
    input_shape: Shape of an image in the order of `data_format`; height and width may be None.
        Default: the checkpoint's, or ({side}, {side}, 3). Pretrained stems are adapted to the
        number of channels.
    pooling: Without top: None, `"avg"` or `"max"`.
    classes: Number of classes; None: the checkpoint's, or 1000. With weights and another number
        the classifier is new, and a line in the log says so.
    classifier_activation: Activation of the classifier; None gives logits.
    name: Name of the model, or None for that of the architecture.
    include_preprocessing: Whether the model normalises pixels itself, with mean and standard
        deviation of the checkpoint. Keras' `.weights.h5` files do not hold these: load such a file
        into a model built with the same checkpoint; `verify` detects a difference.
{options}
    dropout: Dropout rate before the classifier.
    data_format: `"channels_last"`, `"channels_first"` or None for Keras' default.
    dtype: Keras dtype policy, such as `"mixed_bfloat16"`; the head stays in float32.
    revision: Revision of a `hf://` repository.
    cache_dir: Folder of the Hub's cache.
    local_files_only: Do not access the network.

Returns:
    A functional `keras.Model`. Loading it from a `.keras` file requires `import keras_pdenets`;
    its folded net (`transforms.fold`) does not.

Raises:
    ValueError: If an argument is out of range or contradicts the checkpoint.
    WeightsError: If the weights cannot be obtained or do not fit.

Example:

>>> import keras_pdenets
>>> model = keras_pdenets.{builder}(weights=None, input_shape=(32, 32, 3), classes=10)
>>> model.output_shape
(None, 10)
"""

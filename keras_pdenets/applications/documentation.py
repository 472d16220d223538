"""What every public builder says, whatever its family."""

DOCUMENTATION = """{builder}: {reference}.

{count:,} trainable parameters (small stem, 3 input channels, 10 classes). The arguments are those
of `keras.applications`, in its order; images have pixels 0-255.

Args:
    include_top: Whether to end in global pooling and a classifier.
    weights: `"hub"` ({hub}), a name out of
        `list_presets()`, `"hf://organisation/repo[@revision]"`, a safetensors file or a folder with
        `model.safetensors`, or None for random weights. Random for None only.
    input_tensor: Symbolic tensor to use as the input.
    input_shape: Shape of an image in the order of `data_format`; sides may be None. Default: the
        checkpoint's, or ({side}, {side}, 3). Pretrained stems adapt to the number of channels.
    pooling: Without top: None, `"avg"` or `"max"`.
    classes: Number of classes; None: the checkpoint's, or 1000. With weights and another number
        the classifier is new, and one line of the log says so.
    classifier_activation: Activation of the classifier; None gives logits.
    name: Name of the model, or None for the architecture's; it selects nothing.
    include_preprocessing: Whether the model normalises pixels itself, as the checkpoint says.
        Keras' own `.weights.h5` files hold weights only: load them into a model that was built
        with the same checkpoint; `verify` sees a difference.
{options}
    dropout: Rate before the classifier.
    data_format: `"channels_last"`, `"channels_first"` or None for Keras' default.
    dtype: Keras dtype policy, such as `"mixed_bfloat16"`; the head stays in float32.
    revision: Revision of a `hf://` repository.
    cache_dir: Folder of the Hub's cache.
    local_files_only: Do not ask the network.

Returns:
    A functional `keras.Model`. A `.keras` file of it opens after `import keras_pdenets`; one of its
    folded net (`transforms.fold`) needs nothing.

Raises:
    ValueError: If an argument is out of range or contradicts the checkpoint.
    WeightsError: If the weights cannot be obtained or do not fit.

Example:

>>> import keras_pdenets
>>> model = keras_pdenets.{builder}(weights=None, input_shape=(32, 32, 3), classes=10)
>>> model.output_shape
(None, 10)
"""

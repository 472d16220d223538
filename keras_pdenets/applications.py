"""The public builders: one for each row of `presets.ARCHITECTURES`."""

import difflib
import inspect
import logging
import os
import textwrap
from pathlib import Path

import keras

from keras_pdenets.builders import FAMILIES, TRAINING_ONLY, ModelOptions, Preprocessing
from keras_pdenets.hub.errors import WeightsError
from keras_pdenets.hub.files import load_weights, read_checkpoint
from keras_pdenets.hub.resolve import resolve, resolve_repo
from keras_pdenets.layers.images import check_data_format
from keras_pdenets.presets import (
    ARCHITECTURES,
    get_preset,
    list_presets,
    read_presets,
)
from keras_pdenets.utils.checks import as_shape, check_flag, check_path
from keras_pdenets.utils.text import printable

_LOG = logging.getLogger("keras_pdenets")

_DOCUMENTATION = """{builder}: {reference}.

{count:,} trainable parameters (small stem, 3 input channels, 10 classes). The arguments are those
of `keras.applications`, in its order; images have pixels 0-255.

Args:
    include_top: Whether to end in global pooling and a classifier.
    weights: `"hub"` (this architecture's own checkpoint), a name out of `list_presets()`,
        `"hf://organisation/repo[@revision]"`, a safetensors file or a folder with
        `model.safetensors`, or None for random weights. Random for None only.
    input_tensor: Symbolic tensor to use as the input.
    input_shape: Shape of an image in the order of `data_format`; sides may be None. Default: the
        checkpoint's, or ({side}, {side}, 3). Pretrained stems adapt to the number of channels.
    pooling: Without top: None, `"avg"` or `"max"`.
    classes: Number of classes; None: the checkpoint's, or 1000. With weights and another number
        the classifier is new, and one line of the log says so.
    classifier_activation: Activation of the classifier; None gives logits.
    name: Name of the model; it selects nothing.
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
    WeightsError: If the weights cannot be had or do not fit.

Example:

>>> import keras_pdenets
>>> model = keras_pdenets.{builder}(weights=None, input_shape=(32, 32, 3), classes=10)
>>> model.output_shape
(None, 10)
"""


def _application(name):
    """The public builder of a row."""
    row = ARCHITECTURES[name]
    family = FAMILIES[row.family]

    def builder(*args, **kwargs):
        arguments = _bind(row.builder, signature, args, kwargs)
        arguments.apply_defaults()
        return _build(row, **arguments.arguments)

    positional = {
        "include_top": True, "weights": "hub", "input_tensor": None, "input_shape": None,
        "pooling": None, "classes": None, "classifier_activation": "softmax", "name": row.name,
    }  # fmt: skip
    keyword = {
        "include_preprocessing": True, **{key: _unset(key) for key in family.options},
        "dropout": 0.0, "data_format": None, "dtype": None, "revision": None, "cache_dir": None,
        "local_files_only": False,
    }  # fmt: skip
    kinds = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    signature = inspect.Signature(
        [
            inspect.Parameter(key, kind, default=default)
            for kind, defaults in zip(kinds, (positional, keyword), strict=True)
            for key, default in defaults.items()
        ]
    )
    builder.__name__ = builder.__qualname__ = row.builder
    builder.__signature__ = signature
    builder.__doc__ = _DOCUMENTATION.format(
        builder=row.builder,
        reference=row.reference,
        count=row.parameters,
        side=row.side,
        options="\n".join(_documented(name, text) for name, text in family.options.items()),
    )
    return builder


def _bind(builder, signature, args, kwargs):
    """The arguments of a call; an error names the builder and the nearest argument."""
    for name in kwargs:
        if name not in signature.parameters:
            near = difflib.get_close_matches(name, signature.parameters, n=1, cutoff=0.0)
            raise TypeError(
                f"{builder}() has no argument {name!r}; the nearest is {near[0]!r}. All are: "
                f"{', '.join(signature.parameters)}"
            )
    try:
        return signature.bind(*args, **kwargs)
    except TypeError as error:
        positional = [key for key, parameter in signature.parameters.items()
                      if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]  # fmt: skip
        raise TypeError(
            f"{builder}(): {error}; without their names it takes {', '.join(positional)}"
        ) from None


def _documented(name, text):
    """One argument's entry of a docstring."""
    return textwrap.fill(
        f"{name}: {text}", 100, initial_indent=" " * 4, subsequent_indent=" " * 8,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _build(
    row,
    *,
    include_top,
    weights,
    input_tensor,
    input_shape,
    classes,
    name,
    include_preprocessing,
    data_format,
    revision,
    cache_dir,
    local_files_only,
    pooling,
    classifier_activation,
    dropout,
    dtype,
    **config_options,
):
    """Build the model of a row, then load its weights."""
    config_options = {k: v for k, v in config_options.items() if not _is_unset(k, v)}
    include_preprocessing = check_flag("include_preprocessing", include_preprocessing)
    path, source = _find(row, weights, revision, cache_dir, local_files_only)
    checkpoint = None if path is None else _checkpoint_for(row, path, config_options)
    data_format = check_data_format(data_format)
    if input_tensor is not None:
        if not keras.backend.is_keras_tensor(input_tensor):
            raise ValueError(
                "`input_tensor` must be a symbolic Keras tensor, such as keras.Input(...). "
                f"Received: {type(input_tensor).__name__}"
            )
        given, input_shape = input_shape, tuple(input_tensor.shape[1:])
        if given is not None and as_shape(given) != input_shape:
            raise ValueError(
                "`input_shape` must be that of `input_tensor`, or None. "
                f"Received: input_shape={given}, input_tensor of shape {input_shape}"
            )
    elif input_shape is None:
        input_shape = _default_shape(row, checkpoint, data_format)
    if classes is None:
        classes = 1000 if checkpoint is None else checkpoint.classes
    preprocessing = None
    if include_preprocessing:
        preprocessing = Preprocessing() if checkpoint is None else checkpoint.preprocessing
    options = ModelOptions(
        input_shape,
        name=name,
        classes=classes,
        include_top=include_top,
        input_tensor=input_tensor,
        pooling=pooling,
        classifier_activation=classifier_activation,
        preprocessing=preprocessing,
        dropout=dropout,
        data_format=data_format,
        dtype=dtype,
    )
    if checkpoint is not None:
        config_options = {**checkpoint.options, **config_options}
    model = row.build(config_options, options)
    if checkpoint is not None:
        new_head = include_top and classes != checkpoint.classes
        report = load_weights(model, path, source, new_head)
        model.load_report = report
        changed = report.adapted or report.initialised
        _LOG.log(logging.WARNING if changed else logging.INFO, "%s", report)
    return model


def _unset(option):
    """What a family's option is where the caller does not give it."""
    # None is an answer for these, so that it cannot stand for "the model's own".
    return "default" if option in ("activation", "promote") else None


def _is_unset(option, value):
    unset = _unset(option)
    return value is None if unset is None else isinstance(value, str) and value == unset


def _default_shape(row, checkpoint, data_format):
    shape = (row.side, row.side, 3) if checkpoint is None else checkpoint.input_shape
    return shape if data_format == "channels_last" else (shape[2], shape[0], shape[1])


def _find(row, weights, revision, cache_dir, local_files_only):
    """Path of the weight file and a word for its source; (None, "") for `weights=None`."""
    if not (revision is None or (isinstance(revision, str) and revision)):
        raise ValueError(
            f"`revision` must be a commit, tag or branch, or None. Received: revision={revision!r}"
        )
    cache_dir = None if cache_dir is None else check_path("cache_dir", cache_dir)
    local_files_only = check_flag("local_files_only", local_files_only)
    if weights is None:
        return None, ""
    if isinstance(weights, os.PathLike):
        weights = check_path("weights", weights)
    if not isinstance(weights, str | Path) or not str(weights):
        raise ValueError(
            "`weights` must be None, 'hub', the name of a preset, 'hf://organisation/repo', a file "
            f"or a folder. Received: weights={weights!r}"
        )
    if str(weights).startswith("hf://"):
        address = f"{weights}@{revision}" if revision else weights
        return resolve_repo(weights, revision, cache_dir, local_files_only), address
    if revision is not None:
        raise ValueError(
            "`revision` belongs to weights='hf://...'; presets have theirs pinned. "
            f"Received: weights={weights!r}, revision={revision!r}"
        )
    if weights == "hub":
        if row.preset is None:
            raise ValueError(
                f"`weights` cannot be 'hub' for {row.builder}: it has no checkpoint yet. Use "
                f"weights=None. Checkpoints exist for: {', '.join(_builders_with_presets())}"
            )
        weights = row.preset
    name = str(weights)
    # A name comes first: a folder of the same name must not take its place.
    if name not in list_presets():
        path = check_path("weights", weights)
        try:
            if path.is_dir():
                path = path / "model.safetensors"
            if path.is_file() or path.suffix or path.parent != Path():
                return path, str(path)
        except OSError as error:  # a name that is too long, a folder that is closed
            raise WeightsError(f"`weights`: {printable(name)}: {error.strerror}") from error
    path, place = resolve(get_preset(name), cache_dir, local_files_only)
    return path, f"preset {name} ({place})"


def _builders_with_presets():
    presets = read_presets().values()
    return sorted({ARCHITECTURES[preset.checkpoint.architecture].builder for preset in presets})


def _checkpoint_for(row, path, config_options):
    """The header of a weight file, if it belongs to this row and to the options given."""
    checkpoint = read_checkpoint(path)
    if checkpoint.architecture != row.name:
        other = ARCHITECTURES[checkpoint.architecture].builder
        raise WeightsError(f"{path} holds weights of {other}; {row.builder} cannot take them.")
    trained = row.config(checkpoint.options)
    wanted = row.config({**checkpoint.options, **config_options})
    for key, value in config_options.items():
        # How a net is trained is no part of a checkpoint.
        if key not in TRAINING_ONLY and getattr(wanted, key) != getattr(trained, key):
            raise ValueError(
                f"`{key}` must be {getattr(trained, key)!r}, as the checkpoint was trained with; "
                f"weights=None builds another net. Received: {key}={value!r}"
            )
    return checkpoint


ResNet18 = _application("resnet18")
ResNet34 = _application("resnet34")
ResNet50 = _application("resnet50")
ResNet101 = _application("resnet101")
PreActResNet20 = _application("preact_resnet20")
PreActResNet32 = _application("preact_resnet32")
PreActResNet44 = _application("preact_resnet44")
PreActResNet56 = _application("preact_resnet56")
PreActResNet110 = _application("preact_resnet110")
PDEResNet18 = _application("pde_resnet18")
PDEResNet34 = _application("pde_resnet34")
PDEResNet50 = _application("pde_resnet50")
PDEResNet101 = _application("pde_resnet101")
PDEPreActResNet20 = _application("pde_preact_resnet20")
PDEPreActResNet32 = _application("pde_preact_resnet32")
PDEPreActResNet44 = _application("pde_preact_resnet44")
PDEPreActResNet56 = _application("pde_preact_resnet56")
PDEPreActResNet110 = _application("pde_preact_resnet110")
DecomposedResNet18 = _application("decomposed_resnet18")
DecomposedResNet34 = _application("decomposed_resnet34")
DecomposedResNet50 = _application("decomposed_resnet50")
DecomposedResNet101 = _application("decomposed_resnet101")
DecomposedPreActResNet20 = _application("decomposed_preact_resnet20")
DecomposedPreActResNet32 = _application("decomposed_preact_resnet32")
DecomposedPreActResNet44 = _application("decomposed_preact_resnet44")
DecomposedPreActResNet56 = _application("decomposed_preact_resnet56")
DecomposedPreActResNet110 = _application("decomposed_preact_resnet110")
HyperbolicResNet18 = _application("hyperbolic_resnet18")
HyperbolicResNet34 = _application("hyperbolic_resnet34")
HyperbolicResNet50 = _application("hyperbolic_resnet50")
HyperbolicResNet101 = _application("hyperbolic_resnet101")
HyperbolicResNet20 = _application("hyperbolic_resnet20")
HyperbolicResNet38 = _application("hyperbolic_resnet38")
HyperbolicResNet56 = _application("hyperbolic_resnet56")
HyperbolicResNet74 = _application("hyperbolic_resnet74")
PlainNet18 = _application("plain_net18")
PlainNet34 = _application("plain_net34")
PlainNet20 = _application("plain_net20")
PlainNet56 = _application("plain_net56")
VGG16 = _application("vgg16")
RefinedPlainNet18 = _application("refined_plain_net18")
RefinedPlainNet34 = _application("refined_plain_net34")
RefinedPlainNet20 = _application("refined_plain_net20")
RefinedPlainNet56 = _application("refined_plain_net56")
RefinedVGG16 = _application("refined_vgg16")

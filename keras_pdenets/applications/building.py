"""The work of every public builder: bind arguments, build the net, load its weights."""

import difflib
import functools
import inspect
import logging
import os
import textwrap
from collections.abc import Callable
from dataclasses import fields
from typing import Any, ParamSpec

import keras

from keras_pdenets.applications.documentation import DOCUMENTATION
from keras_pdenets.builders import TRAINING_ONLY, ModelOptions, Preprocessing
from keras_pdenets.hub.errors import WeightsError
from keras_pdenets.hub.files import load_opened, read_checkpoint
from keras_pdenets.hub.source import WeightsSource, check_access
from keras_pdenets.hub.weight_file import WeightFile
from keras_pdenets.layers.images import check_data_format
from keras_pdenets.presets import ARCHITECTURES, Architecture, Checkpoint, read_presets
from keras_pdenets.utils.checks import check_flag

_LOG = logging.getLogger("keras_pdenets")
_P = ParamSpec("_P")
_MODEL_OPTIONS = {field.name for field in fields(ModelOptions)}
_BEFORE_WEIGHTS = 1  # arguments that stand before it
_NO_CHECKPOINT = "an error: this architecture has no checkpoint yet"


def application(signature: Callable[_P, Any], name: str) -> Callable[_P, Any]:
    """The public builder of a row, with the signature of its family."""
    row, arguments = ARCHITECTURES[name], _signature(signature, ARCHITECTURES[name])

    @functools.wraps(signature)
    def builder(*args: _P.args, **kwargs: _P.kwargs) -> Any:
        if row.preset is None and len(args) <= _BEFORE_WEIGHTS and "weights" not in kwargs:
            _LOG.warning(
                "%s has no checkpoint yet: its weights are random. weights=None says so without "
                "this line.", row.builder,
            )  # fmt: skip
        return _build_from(row, **_bind(row.builder, arguments, args, kwargs))

    builder.__name__ = builder.__qualname__ = row.builder
    builder.__module__ = "keras_pdenets.applications"
    builder.__signature__ = arguments  # type: ignore[attr-defined]
    builder.__doc__ = DOCUMENTATION.format(
        builder=row.builder,
        reference=row.reference,
        count=row.parameters,
        side=row.side,
        hub=f"the default: `{row.preset}`" if row.preset else _NO_CHECKPOINT,
        random="" if row.preset else ", the default: there is no checkpoint",
        options="\n".join(_documented(*item) for item in row.family.options.items()),
    )
    return builder


def _signature(function: Callable[..., Any], row: Architecture) -> inspect.Signature:
    """The signature of a family for a row: without a checkpoint `weights` is None by default."""
    signature = inspect.signature(function)
    if row.preset is not None:
        return signature
    parameters = [
        parameter.replace(default=None) if name == "weights" else parameter
        for name, parameter in signature.parameters.items()
    ]
    return signature.replace(parameters=parameters)


def load_model(
    weights: str | os.PathLike[str],
    *,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    **options: Any,
) -> keras.Model:
    """Build the net that weights belong to, and load them.

    Args:
        weights: Name of a preset, `"hf://organisation/repo[@revision]"`, a safetensors file or a
            folder with `model.safetensors`.
        revision: Revision of a `hf://` repository.
        cache_dir: Folder of the Hub's cache.
        local_files_only: Do not access the network.
        **options: Other arguments of the builder, such as `classes` or `include_top`.

    Returns:
        A functional `keras.Model`.

    Raises:
        TypeError: If the builder has no such argument.
        ValueError: If the preset does not exist, or an argument is out of range.
        WeightsError: If the weights cannot be obtained or do not fit.

    Example:
    >>> import keras_pdenets
    >>> model = keras_pdenets.load_model("pde_resnet20_fashion_mnist")
    >>> model.name, model.output_shape
    ('pde_preact_resnet20', (None, 10))
    """
    return load_from(WeightsSource.parse(weights, revision, cache_dir, local_files_only), **options)


def load_from(source: WeightsSource, **options: Any) -> keras.Model:
    """Build the net that the weights of a source belong to, as `load_model` does."""
    with source.resolve() as file:
        row = read_checkpoint(file).row
        signature = inspect.signature(row.family.signature)
        return _build(row, source, file, **_bind(row.builder, signature, (), options))


def _build_from(
    row: Architecture,
    weights: object,
    revision: str | None,
    cache_dir: object,
    local_files_only: bool,
    **arguments: Any,
) -> keras.Model:
    """Build the model of a row with the weights that `weights` names."""
    check_flag("include_preprocessing", arguments["include_preprocessing"])
    if weights is None:
        check_access(revision, cache_dir, local_files_only)
        return _build(row, None, None, **arguments)
    if isinstance(weights, str) and weights == "hub" and revision is None:
        if row.preset is None:
            known = sorted({preset.checkpoint.row.builder for preset in read_presets().values()})
            raise ValueError(
                f"`weights` cannot be 'hub' for {row.builder}: it has no checkpoint yet. Use "
                f"weights=None. Checkpoints exist for: {', '.join(known)}"
            )
        weights = row.preset
    source = WeightsSource.parse(weights, revision, cache_dir, local_files_only)
    with source.resolve() as file:
        return _build(row, source, file, **arguments)


def _build(
    row: Architecture,
    source: WeightsSource | None,
    file: WeightFile | None,
    *,
    include_preprocessing: bool,
    **arguments: Any,
) -> keras.Model:
    """Build the model of a row, then load the weight file."""
    own = row.family.options
    config = {k: v for k, v in arguments.items() if k in own and not _is_unset(k, v)}
    checkpoint = None if file is None else _checkpoint_for(row, file, config)
    shape, classes, preprocessing = (row.side, row.side, 3), 1000, Preprocessing()
    if checkpoint is not None:
        shape, classes = checkpoint.input_shape, checkpoint.classes
        preprocessing = checkpoint.preprocessing
        config = {**checkpoint.options, **config}
    options = {k: v for k, v in arguments.items() if k in _MODEL_OPTIONS}
    defaults: dict[str, Any] = {"classes": classes, "name": row.name}
    if options["input_tensor"] is None:
        first = check_data_format(options["data_format"]) == "channels_first"
        defaults["input_shape"] = (shape[2], *shape[:2]) if first else shape
    options |= {k: v for k, v in defaults.items() if options[k] is None}
    include = check_flag("include_preprocessing", include_preprocessing)
    options["preprocessing"] = preprocessing if include else None
    model_options = ModelOptions(**options)
    model = row.build(config, model_options)
    if file is not None and checkpoint is not None:
        new_head = model_options.include_top and model_options.classes != checkpoint.classes
        report = load_opened(model, file, new_head)
        report.origin = source
        model.load_report = report
        changed = report.adapted or report.initialised
        _LOG.log(logging.WARNING if changed else logging.INFO, "%s", report)
    return model


def _bind(
    builder: str, signature: inspect.Signature, args: Any, kwargs: dict[str, Any]
) -> dict[str, Any]:
    """The bound arguments of a call; errors name the builder and the nearest argument."""
    for name in kwargs:
        if name not in signature.parameters:
            near = difflib.get_close_matches(name, signature.parameters, n=1, cutoff=0.0)
            raise TypeError(
                f"{builder}() has no argument {name!r}; the nearest is {near[0]!r}. All are: "
                f"{', '.join(signature.parameters)}"
            )
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        positional = [key for key, parameter in signature.parameters.items()
                      if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]  # fmt: skip
        raise TypeError(
            f"{builder}(): {error}; its positional arguments are {', '.join(positional)}"
        ) from None
    bound.apply_defaults()
    return bound.arguments


def _documented(name: str, text: str) -> str:
    """The entry of one argument in a docstring."""
    return textwrap.fill(
        f"{name}: {text}", 100, initial_indent=" " * 4, subsequent_indent=" " * 8,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _is_unset(option: str, value: Any) -> bool:
    """Whether an option of the family is left to the row or the checkpoint."""
    # None is a valid value of these two.
    if option in ("activation", "promote"):
        return isinstance(value, str) and value == "default"
    return value is None


def _checkpoint_for(
    row: Architecture, file: WeightFile, config_options: dict[str, Any]
) -> Checkpoint:
    """The record of a weight file, if it fits this row and the given options."""
    checkpoint = read_checkpoint(file)
    if checkpoint.architecture != row.name:
        other = checkpoint.row.builder
        raise WeightsError(f"{file.path} holds weights of {other}, not of {row.builder}.")
    trained = row.config(checkpoint.options)
    wanted = row.config({**checkpoint.options, **config_options})
    for key, value in config_options.items():
        # Options of training are not part of a checkpoint.
        if key not in TRAINING_ONLY and getattr(wanted, key) != getattr(trained, key):
            raise ValueError(
                f"`{key}` must be {getattr(trained, key)!r}, as the checkpoint was trained with; "
                f"weights=None builds another net. Received: {key}={value!r}"
            )
    return checkpoint

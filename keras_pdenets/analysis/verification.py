"""Comparison of a net's weights and outputs with the published ones, layer by layer."""

import os
from dataclasses import replace

import keras
import numpy as np

from keras_pdenets.analysis.fingerprint import measure, start_of, weight_digests
from keras_pdenets.analysis.verify_report import VerifyReport
from keras_pdenets.applications.building import load_from
from keras_pdenets.hub.errors import WeightsError
from keras_pdenets.hub.golden import MOST_IMAGES, Golden, are_pixels, read_golden
from keras_pdenets.hub.source import WeightsSource
from keras_pdenets.hub.variable_names import own_variables
from keras_pdenets.utils.checks import check_keras_model, check_number

_TOLERANCE = 1e-4
_HEAD = "classifier"


def record_golden(model, images):
    """The golden numbers of a net.

    Args:
        model: A net with a classifier, in float32, with the weights of its file, which half
            precision would round.
        images: Up to 64 images, channels last, of whole numbers 0-255.

    Returns:
        A `Golden`, for `hub.golden.write_golden`.

    Raises:
        ValueError: If the images are not such, or the model has no classifier or several inputs.
        WeightsError: If two variables of the model have the same name.

    Example:
    >>> import keras_pdenets
    >>> images, _ = keras_pdenets.data.load_sample()
    >>> net = keras_pdenets.load_model("resnet20_fashion_mnist")
    >>> keras_pdenets.analysis.record_golden(net, images[:2]).logits.shape
    (2, 10)
    """
    check_keras_model(model)
    images = np.asarray(images)
    if (
        images.ndim != 4
        or images.dtype.kind not in "uif"
        or not 0 < len(images) <= MOST_IMAGES
        or not are_pixels(images)
    ):
        raise ValueError(
            f"`images` must be 1 to {MOST_IMAGES} images, channels last, of whole numbers 0-255. "
            f"Received: {images.dtype} of shape {images.shape}"
        )
    images = images.astype("float32")
    digests = weight_digests(model)
    found, logits = measure(model, images)
    if logits is None:
        raise ValueError(f"`model` must have a classifier. Received: {model.name!r}")
    return Golden(
        images, logits.astype("float32"), tuple(found), np.stack(list(found.values())), digests
    )


def verify(model_or_preset, golden=None, tolerance=None, cache_dir=None):
    """Compare a net's weights and outputs with the published ones, layer by layer.

    The weights must be equal to the last bit; any changed variable is named, and so are values
    assigned to the wrong variables. Logits and layer outputs for a few images must be close: if
    they are not although the weights are right, the backend or the processor computes differently.

    Args:
        model_or_preset: Name of a preset, `"hf://organisation/repo[@revision]"`, a weight file, or
            a model built by this package with `weights=`.
        golden: Name, address or file as above whose golden file to use, or a golden file itself;
            None: that of the model's own weights.
        tolerance: Largest difference that counts as equal, relative to the size of each layer's
            output. None: 1e-4, for nets in float32. Half precision differs by 1e-2 to 1e-1, and so
            do GPUs that shorten float32 (TF32). It does not apply to weights; these are not
            compared if the net stores them in half precision, and the report says so.
        cache_dir: Folder of the Hub's cache. None: the one that the model's weights came from, or
            the client's.

    Returns:
        A `VerifyReport` with the property `agrees`; its text also names weights that were not
        compared.

    Raises:
        ValueError: If the model cannot be compared (other inputs, other layers, or another
            precision without `tolerance`), or `tolerance` is negative or not finite.
        WeightsError: If weights or golden file cannot be obtained, or the golden file holds
            impossible numbers or no digest of any of the weights.

    Example:
    >>> import keras_pdenets
    >>> keras_pdenets.verify("decomposed_resnet20_fashion_mnist").agrees
    True
    """
    if tolerance is not None:
        tolerance = check_number("tolerance", tolerance, "a number >= 0", lambda t: t >= 0)
    if not isinstance(model_or_preset, str | os.PathLike | keras.Model) or model_or_preset == "":
        raise ValueError(
            "`model_or_preset` must be the name of a preset, a weight file or a keras.Model. "
            f"Received: {model_or_preset!r}"
        )
    if not (golden is None or (isinstance(golden, str | os.PathLike) and str(golden))):
        raise ValueError(
            f"`golden` must be a name, an address or a file, or None. Received: golden={golden!r}"
        )
    if isinstance(model_or_preset, keras.Model):
        model, source = model_or_preset, None
    else:
        source = WeightsSource.parse(model_or_preset, cache_dir=cache_dir)
        model = load_from(source, dtype="float32")
    if golden is not None:
        source = WeightsSource.parse(golden, cache_dir=cache_dir)
    elif source is None:
        source = _source_of(model)
        source = replace(source, cache_dir=cache_dir or source.cache_dir)
    if tolerance is None:
        tolerance = _TOLERANCE
        short = {layer.compute_dtype for layer in model.layers} & {"float16", "bfloat16"}
        if short:
            raise ValueError(
                "`tolerance` must be given for a net in half precision, such as 0.1. "
                f"Received: tolerance=None, a model that computes in {', '.join(short)}"
            )
    with source.golden().resolve() as file:
        return _compare(model, read_golden(file), source.name, tolerance)


def _source_of(model):
    """The source of a model's weights."""
    source = getattr(getattr(model, "load_report", None), "origin", None)
    if source is None:
        raise ValueError(
            "`golden` must be a preset or a golden file for a model whose weights were not loaded "
            f"by a builder of this package. Received: golden=None, model {model.name!r}"
        )
    return source


def _compare(model, golden, source, tolerance):
    """The report on a model compared with golden numbers."""
    digests = weight_digests(model)
    _check_inputs(model, golden)
    found, head = measure(model, golden.inputs)
    if head is not None and head.shape != golden.logits.shape:  # a new classifier
        del found[_HEAD]
        head = None
        digests = {path: d for path, d in digests.items() if not path.startswith(f"{_HEAD}/")}
    common = [name for name in golden.layers if name in found]
    if 2 * len(common) < len(golden.layers):
        raise ValueError(
            f"`model` must be the net of {source}: it has {len(common)} of its "
            f"{len(golden.layers)} layers. Received: model {model.name!r}"
        )
    known = {path: digest for path, digest in digests.items() if path in golden.weights}
    if digests and not known:
        raise WeightsError(f"The golden file of {source} has no digest of the model's weights.")
    wanted = dict(zip(golden.layers, golden.fingerprints, strict=True))
    differences = {}
    for name in common:
        size = float(wanted[name][0]) or 1.0
        differences[name] = float(np.abs(found[name] - wanted[name]).max() / size)
    # Written so that NaN counts as a difference.
    first = next((n for n, d in differences.items() if not d <= tolerance), None)
    logits = None
    if head is not None:
        logits = float(np.abs(head - golden.logits).max() / (np.abs(golden.logits).max() or 1.0))
    return VerifyReport(
        source=source,
        backend=keras.backend.backend(),
        weights=len(known),
        changed=tuple(path for path in known if known[path] != golden.weights[path]),
        uncompared=tuple(path for path in own_variables(model) if path not in known),
        layers=len(common),
        logits=logits,
        largest=float(np.max(list(differences.values()))),
        first=first,
        difference=differences.get(first),
        tolerance=tolerance,
    )


def _check_inputs(model, golden):
    """Raise ValueError if the golden images are no input of the model."""
    shape, images = tuple(start_of(model).shape[1:]), golden.inputs.shape[1:]
    turned = (images[2], images[0], images[1])
    if not any(
        all(side in (None, given) for side, given in zip(shape, image, strict=True))
        for image in (images, turned)
    ):
        raise ValueError(
            f"`model` must take images of shape {images}, as the golden file has them. "
            f"Received: a model for {shape}"
        )
    names = {layer.name for layer in model.layers}
    if "preprocessing" in golden.layers and "preprocessing" not in names:
        raise ValueError(
            "`model` must normalise pixels itself (include_preprocessing=True) to be compared with "
            "the golden file."
        )

"""Whether a net gives on this machine what it gave on ours, and which layer does not."""

import re
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from keras_pdenets import applications
from keras_pdenets.analysis.fingerprint import fingerprint, outputs_of
from keras_pdenets.hub.files import read_checkpoint
from keras_pdenets.hub.golden import Golden, find_golden, read_golden
from keras_pdenets.hub.repos import resolve_repo
from keras_pdenets.presets import ARCHITECTURES, get_preset, list_presets

_TOLERANCE = 1e-4
_HEAD = "classifier"


@dataclass(frozen=True)
class VerifyReport:
    """What `verify` found. Differences are relative to the size of what is compared.

    Args:
        source: Weights or golden file that the net was compared with.
        backend: Backend of Keras here.
        layers: Number of layers compared.
        logits: Largest difference of the logits; None without the classifier.
        largest: Largest difference of a layer.
        first: First layer, in the order of the graph, that differs by more than the tolerance.
        difference: Its difference.
        weights: Names of its weights.
        tolerance: Largest difference that counts as equal.
    """

    source: str
    backend: str
    layers: int
    logits: float | None
    largest: float
    first: str | None
    difference: float | None
    weights: tuple[str, ...]
    tolerance: float

    @property
    def agrees(self) -> bool:
        """Whether logits and layers are those of the golden file."""
        close = self.logits is None or self.logits <= self.tolerance
        return self.first is None and close

    def __str__(self) -> str:
        """The report in a line or two."""
        logits = "no logits" if self.logits is None else f"logits within {self.logits:.1e}"
        line = (
            f"{self.source} on {self.backend}: {logits}, {self.layers} layers within "
            f"{self.largest:.1e} (allowed: {self.tolerance:.0e}): "
        )
        if self.agrees:
            return line + "as published"
        if self.first is None:
            return line + "DIFFERS in the logits alone"
        names = ", ".join(self.weights) or "none: look at the backend's arithmetic"
        return (
            line + f"DIFFERS\nThe first layer that differs is {self.first}, by "
            f"{self.difference:.1e}; what comes before it agrees. Its weights: {names}"
        )


def record_golden(model, images):
    """The golden numbers of a net.

    Args:
        model: A net with a classifier.
        images: A few images, channels last, of whole numbers 0-255.

    Returns:
        A `Golden`, for `hub.golden.write_golden`.
    """
    images = np.asarray(images, "float32")
    outputs = outputs_of(model, images)
    prints = np.stack([fingerprint(value) for value in outputs.values()])
    return Golden(images, outputs[_HEAD].astype("float32"), tuple(outputs), prints)


def verify(model_or_preset, golden=None, tolerance=None):
    """Compute the golden logits of a checkpoint here and compare them, layer by layer if need be.

    A file's hash proves that the weights are the published ones. This proves what is made of them:
    values assigned to the wrong variables, weights that were changed since, a backend or a
    processor that computes something else.

    Args:
        model_or_preset: Name of a preset, `"hf://organisation/repo[@revision]"`, a weight file, or
            a model that a builder of this package gave with `weights=`.
        golden: Name, address or file as above that the golden file belongs to, or that file
            itself; None: that of the model's own weights.
        tolerance: Largest difference that counts as equal, relative to the size of each layer's
            output. None: 1e-4, for nets in float32. Half precision has 1e-2 to 1e-1, and so have
            graphics cards that shorten float32 (TF32).

    Returns:
        A `VerifyReport`; its `agrees` says yes or no.

    Raises:
        ValueError: If the model cannot be compared: other inputs, other layers, or another
            precision and no `tolerance`.
        WeightsError: If weights or golden file cannot be had.

    Example:
    >>> import keras_pdenets
    >>> keras_pdenets.verify("decomposed_resnet20_fashion_mnist").agrees
    True
    """
    model, source = model_or_preset, golden
    if isinstance(model_or_preset, str | Path):
        model, source = _build(str(model_or_preset)), golden or model_or_preset
    source = _source_of(model) if source is None else str(source)
    if tolerance is None:
        tolerance = _TOLERANCE
        short = {layer.compute_dtype for layer in model.layers} & {"float16", "bfloat16"}
        if short:
            raise ValueError(
                "`tolerance` must be given for a net in half precision, such as 0.1. "
                f"Received: tolerance=None, a model that computes in {', '.join(short)}"
            )
    path = Path(source)
    is_golden = path.name.startswith("golden") and path.is_file()
    return _compare(model, read_golden(path if is_golden else find_golden(source)),
                    source, float(tolerance))  # fmt: skip


def _build(weights):
    """The net that weights belong to, as they say themselves."""
    if weights in list_presets():
        checkpoint = get_preset(weights).checkpoint
    elif weights.startswith("hf://"):
        checkpoint = read_checkpoint(resolve_repo(weights, None, None, False))
    elif Path(weights).exists():
        path = Path(weights)
        checkpoint = read_checkpoint(path / "model.safetensors" if path.is_dir() else path)
    else:
        checkpoint = get_preset(weights).checkpoint  # the error with the nearest names
    builder = getattr(applications, ARCHITECTURES[checkpoint.architecture].builder)
    return builder(weights=weights, dtype="float32")


def _source_of(model):
    """The weights that a model was built with, as `find_golden` knows them."""
    report = getattr(model, "load_report", None)
    if report is None:
        raise ValueError(
            "`golden` must be given for a model that no builder of this package gave weights: "
            f"a preset or a golden file. Received: golden=None, model {model.name!r}"
        )
    # "preset NAME (place)", "hf://...", or a path.
    match = re.fullmatch(r"preset (\S+) \(\w+\)", report.source)
    return match[1] if match else report.source


def _compare(model, golden, source, tolerance):
    """The report on a model and golden numbers."""
    _check_inputs(model, golden)
    outputs = outputs_of(model, golden.inputs)
    wanted = dict(zip(golden.layers, golden.fingerprints, strict=True))
    head = outputs.get(_HEAD)
    if head is not None and head.shape != golden.logits.shape:
        del outputs[_HEAD]  # a classifier of its own
        head = None
    common = [name for name in golden.layers if name in outputs]
    if len(common) < len(golden.layers) // 2:
        raise ValueError(
            f"`model` must be the net of {source}: it has {len(common)} of its "
            f"{len(golden.layers)} layers. Received: model {model.name!r}"
        )
    differences = {}
    for name in common:
        size = float(wanted[name][0]) or 1.0
        differences[name] = np.abs(fingerprint(outputs[name]) - wanted[name]).max() / size
    # Written so that NaN counts as a difference.
    first = next((n for n, d in differences.items() if not d <= tolerance), None)
    logits = None
    if head is not None:
        logits = float(np.abs(head - golden.logits).max() / np.abs(golden.logits).max())
    layer = model.get_layer(first) if first else None
    return VerifyReport(
        source, keras.backend.backend(), len(common), logits,
        float(np.max(list(differences.values()))), first,
        float(differences[first]) if first else None,
        tuple(w.name for w in layer.weights) if layer else (), tolerance,
    )  # fmt: skip


def _check_inputs(model, golden):
    """Raise ValueError if the golden images are no input of the model."""
    if not getattr(model, "inputs", None) or len(model.inputs) != 1:
        raise ValueError(f"`model` must be functional, with one input. Received: {model.name!r}")
    shape, images = tuple(model.inputs[0].shape[1:]), golden.inputs.shape[1:]
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

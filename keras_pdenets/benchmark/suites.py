"""Named lists of cases: the commands behind the figures of docs/guides/speed.md."""

from dataclasses import dataclass

from keras_pdenets.benchmark.case import BACKENDS
from keras_pdenets.utils.checks import lookup
from keras_pdenets.utils.extras import installed, require

_NETS = ("ResNet50", "PDEResNet50", "DecomposedResNet50", "HyperbolicResNet50")
_SMALL = ("PreActResNet20", "PDEPreActResNet20", "DecomposedPreActResNet20")


@dataclass(frozen=True)
class Suite:
    """A list of cases.

    Args:
        words: The words, with `{backend}` for the backend. The first is the reference.
        mode: The `mode` of a `Setting`.
    """

    words: tuple[str, ...]
    mode: str = "inference"


SUITES = {
    "folded": Suite(tuple(f"{net}+fold@{{backend}}" for net in _NETS)),
    "training": Suite(tuple(f"{net}@{{backend}}" for net in _SMALL), "training"),
    "training50": Suite(tuple(f"{net}@{{backend}}" for net in _NETS), "training"),
    "peers": Suite((
        "timm:resnet50+channels_last+compile@torch",
        "timm:resnet50+channels_last@torch",
        "timm:resnet50@torch",
        "keras:ResNet50@tensorflow",
        "keras:ResNet50@jax",
        "keras:ResNet50@torch",
        "keras:MobileNetV3Large@tensorflow",
        "ResNet50+fold@tensorflow",
        "ResNet50+fold@jax",
        "ResNet50+fold@torch",
        "ResNet50+fold+compile@torch",
        "ResNet50+fold@onnxruntime",
        "ResNet50+fold@openvino",
        "PDEResNet50+fold@openvino",
    )),
}  # fmt: skip


def suite_words(name, backend=None):
    """The words of a suite, for installed frameworks.

    Args:
        name: Key of `SUITES`.
        backend: The backend of a suite with `{backend}`; None: all that are installed, one after
            the other.

    Raises:
        ValueError: If there is no such suite or backend, or the suite names its backends itself.
        ImportError: If the backend is not installed.
    """
    words = lookup("suite", name, SUITES).words
    if backend is not None:
        lookup("backend", backend, dict.fromkeys(BACKENDS))
        if not all("{" in word for word in words):
            raise ValueError(
                f"`backend` must be None for the suite {name}, which names its own backends. "
                f"Received: {backend!r}"
            )
        if not installed(backend):
            require(backend, backend)  # says how to install it
    backends = [backend] if backend else [b for b in BACKENDS if installed(b)]
    words = [word.format(backend=b) for word in words for b in backends]
    return [word for word in dict.fromkeys(words) if _runs(word)]


def _runs(word):
    runtime = word.partition("@")[2]
    return installed(runtime) and (not word.startswith("timm:") or installed("timm"))

"""Named lists of contenders: the commands behind the figures of the README."""

import importlib.util

from keras_pdenets.benchmark.contender import BACKENDS

_NETS = ("ResNet50", "PDEResNet50", "DecomposedResNet50", "HyperbolicResNet50")
_SMALL = ("PreActResNet20", "PDEPreActResNet20", "DecomposedPreActResNet20")
# The first word of each is the reference. `training` and `training50` are for mode="training".
SUITES = {
    "folded": tuple(f"{net}+fold@{{backend}}" for net in _NETS),
    "training": tuple(f"{net}@{{backend}}" for net in _SMALL),
    "training50": tuple(f"{net}@{{backend}}" for net in _NETS),
    "peers": (
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
    ),
}


def suite(name, backend=None):
    """The words of a suite, for what is installed here.

    Args:
        name: Key of `SUITES`.
        backend: The backend of a suite that is of one backend; None: all that are installed,
            one after the other.
    """
    backends = [backend] if backend else [b for b in BACKENDS if _installed(b)]
    words = []
    for word in SUITES[name]:
        words += [word.format(backend=b) for b in (backends if "{" in word else backends[:1])]
    return [word for word in dict.fromkeys(words) if _runs(word)]


def _runs(word):
    place = word.partition("@")[2]
    return _installed(place) and (not word.startswith("timm:") or _installed("timm"))


def _installed(module):
    return importlib.util.find_spec(module) is not None

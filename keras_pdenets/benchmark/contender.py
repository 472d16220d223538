"""What takes part in a benchmark, as one word."""

import re
from dataclasses import dataclass

from keras_pdenets.presets import ARCHITECTURES, list_presets, lookup

BACKENDS = ("tensorflow", "jax", "torch")
# Where an exported net runs, and the format of `export` that it is exported to.
RUNTIMES = {"onnxruntime": "onnx", "openvino": "openvino", "litert": "litert", "pt2": "torch"}
# What an option does, and where it can be had.
OPTIONS = {
    "fold": "folded by `transforms.fold`",
    "compile": "compiled as a whole: XLA, or torch.compile of what torch.export gives",
    "eager": "not compiled at all",
    "channels_first": "built with that order of the axes",
    "channels_last": "timm's nets in that memory format",
    "remat": "with rematerialisation",
}
SOURCES = ("own", "keras", "timm")
_WORD = re.compile(r"(?:(keras|timm):)?([A-Za-z0-9_.]+)((?:\+[a-z_]+)*)@([a-z0-9]+)")


@dataclass(frozen=True)
class Contender:
    """A net, what is done to it, and where it runs.

    Written `[keras:|timm:]NAME[+OPTION...]@PLACE`: `PDEResNet50+fold@jax`,
    `keras:MobileNetV3Large@tensorflow`, `timm:resnet50+channels_last+compile@torch`,
    `pde_resnet20_fashion_mnist+fold@openvino`.

    Args:
        source: `"own"`, `"keras"` (keras.applications) or `"timm"`.
        name: A builder or checkpoint of this package, or the source's name of the net.
        options: Keys of `OPTIONS`.
        place: One of `BACKENDS` or a key of `RUNTIMES`.
    """

    source: str
    name: str
    options: tuple[str, ...]
    place: str

    def __post_init__(self):
        """Refuse what does not exist."""
        for option in self.options:
            lookup("option", option, OPTIONS)
        lookup("place", self.place, dict.fromkeys((*BACKENDS, *RUNTIMES)))
        if self.source == "own":
            lookup("net", self.name, dict.fromkeys((*_builders(), *list_presets())))
        if self.source == "timm" and self.place != "torch":
            raise ValueError(
                f"`place` of timm's nets must be 'torch'. Received: place={self.place!r}"
            )
        if self.source == "timm" and not set(self.options) <= {"compile", "channels_last"}:
            raise ValueError(
                "`options` of timm's nets are compile and channels_last. "
                f"Received: options={self.options}"
            )
        if "channels_last" in self.options and self.source != "timm":
            raise ValueError(
                "`options` may name channels_last for timm's nets only: Keras' have that order "
                f"unless they are channels_first. Received: {self.name}"
            )

    @classmethod
    def parse(cls, word):
        """The contender that a word describes.

        Example:
        >>> from keras_pdenets.benchmark import Contender
        >>> Contender.parse("PDEResNet50+fold@jax").options
        ('fold',)
        """
        match = _WORD.fullmatch(word)
        if match is None:
            raise ValueError(
                "A contender must read [keras:|timm:]NAME[+OPTION...]@PLACE, such as "
                f"PDEResNet50+fold@torch. Received: {word!r}"
            )
        source, name, options, place = match.groups()
        return cls(source or "own", name, tuple(options.split("+")[1:]), place)

    @property
    def backend(self):
        """The Keras backend of the process; exports are made on torch."""
        return self.place if self.place in BACKENDS else "torch"

    def __str__(self):
        """The word."""
        source = "" if self.source == "own" else f"{self.source}:"
        return "+".join([f"{source}{self.name}", *self.options]) + f"@{self.place}"


def _builders():
    return {row.builder: row for row in ARCHITECTURES.values()}

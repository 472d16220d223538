"""What takes part in a benchmark, as one word."""

import re
from dataclasses import dataclass

from keras_pdenets.presets import ARCHITECTURES, get_preset, list_presets
from keras_pdenets.utils.checks import lookup

BACKENDS = ("tensorflow", "jax", "torch")
# Where an exported net runs, and the format of `export` that it is exported to.
EXPORTED = {"onnxruntime": "onnx", "openvino": "openvino", "litert": "litert", "pt2": "torch"}
RUNTIMES = (*BACKENDS, *EXPORTED)


@dataclass(frozen=True)
class Option:
    """What can be done to a net.

    Args:
        text: What it does.
        sources: Sources of nets that know it.
        runtimes: Where it changes anything.
    """

    text: str
    sources: tuple[str, ...] = ("own", "keras")
    runtimes: tuple[str, ...] = RUNTIMES


OPTIONS = {
    "fold": Option("folded by `transforms.fold`"),
    "fold_keep": Option('folded with `decomposed="keep"`'),
    "compile": Option("compiled as a whole: XLA, or torch.compile of what torch.export gives",
                      ("own", "keras", "timm"), ("tensorflow", "torch")),
    "eager": Option("not compiled at all", runtimes=("tensorflow", "jax")),
    "channels_first": Option("built with that order of the axes"),
    "channels_last": Option("in that memory format", ("timm",), ("torch",)),
    "remat": Option("with rematerialisation", ("own",), BACKENDS),
}  # fmt: skip
# The second of each undoes the first.
_CONTRADICTIONS = (
    ("compile", "eager"), ("fold", "fold_keep"), ("remat", "fold"), ("remat", "fold_keep")
)  # fmt: skip
_WORD = re.compile(r"(?:(keras|timm):)?([A-Za-z0-9_.]+)((?:\+[a-z_]+)*)@([a-z0-9]+)")


@dataclass(frozen=True)
class Case:
    """A net, what is done to it, and where it runs.

    Written `[keras:|timm:]NAME[+OPTION...]@RUNTIME`: `PDEResNet50+fold@jax`,
    `keras:MobileNetV3Large@tensorflow`, `timm:resnet50+channels_last+compile@torch`,
    `pde_resnet20_fashion_mnist+fold@openvino`.

    Args:
        source: `"own"`, `"keras"` (keras.applications) or `"timm"`.
        name: A builder or checkpoint of this package, or the source's name of the net.
        options: Keys of `OPTIONS`.
        runtime: One of `BACKENDS` or a key of `EXPORTED`.
    """

    source: str
    name: str
    options: tuple[str, ...]
    runtime: str

    def __post_init__(self):
        """Refuse what does not exist, and what would do nothing."""
        lookup("runtime", self.runtime, dict.fromkeys(RUNTIMES))
        if self.source == "own":
            lookup("net", self.name, dict.fromkeys((*_builders(), *list_presets())))
        if self.source == "timm" and self.runtime != "torch":
            raise ValueError(
                f"`runtime` of timm's nets must be 'torch'. Received: runtime={self.runtime!r}"
            )
        for option in self.options:
            row = lookup("option", option, OPTIONS)
            if self.source not in row.sources or self.runtime not in row.runtimes:
                raise ValueError(
                    f"`options` may name {option} for nets of {', '.join(row.sources)} at "
                    f"{', '.join(row.runtimes)}: elsewhere it does nothing. Received: {self}"
                )
        twice = len(set(self.options)) < len(self.options)
        if twice or any(set(pair) <= set(self.options) for pair in _CONTRADICTIONS):
            raise ValueError(
                "`options` must name each once, and not compile with eager, fold with fold_keep, "
                f"or remat with one of these. Received: {self}"
            )
        if "remat" in self.options and "remat" not in self.architecture.family.options:
            raise ValueError(
                f"`options` cannot name remat: this net has no blocks. Received: {self}"
            )

    @property
    def folding(self):
        """The `decomposed` of `transforms.fold`, or None where the net is not folded."""
        modes = {"fold": "measure", "fold_keep": "keep"}
        return next((modes[option] for option in self.options if option in modes), None)

    @classmethod
    def parse(cls, word):
        """The case that a word describes.

        Example:
        >>> from keras_pdenets.benchmark import Case
        >>> Case.parse("PDEResNet50+fold@jax").options
        ('fold',)
        """
        match = _WORD.fullmatch(word)
        if match is None:
            raise ValueError(
                "A case must read [keras:|timm:]NAME[+OPTION...]@RUNTIME, such as "
                f"PDEResNet50+fold@torch. Received: {word!r}"
            )
        source, name, options, runtime = match.groups()
        return cls(source or "own", name, tuple(options.split("+")[1:]), runtime)

    @property
    def backend(self):
        """The Keras backend of the process; exports are made on torch."""
        return self.runtime if self.runtime in BACKENDS else "torch"

    @property
    def architecture(self):
        """The row of a net of this package."""
        found = _builders().get(self.name)
        return found or ARCHITECTURES[get_preset(self.name).checkpoint.architecture]

    def __str__(self):
        """The word."""
        source = "" if self.source == "own" else f"{self.source}:"
        return "+".join([f"{source}{self.name}", *self.options]) + f"@{self.runtime}"


def _builders():
    return {row.builder: row for row in ARCHITECTURES.values()}

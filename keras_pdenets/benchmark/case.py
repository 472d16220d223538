"""The cases of a benchmark, each written as one word."""

import re
from dataclasses import dataclass

from keras_pdenets.presets import ARCHITECTURES, get_preset, list_presets
from keras_pdenets.utils.checks import lookup

BACKENDS = ("tensorflow", "jax", "torch")
# Runtimes of exported nets, and their formats in `export`.
EXPORTED = {"onnxruntime": "onnx", "openvino": "openvino", "litert": "litert", "pt2": "torch"}
RUNTIMES = (*BACKENDS, *EXPORTED)


@dataclass(frozen=True)
class Option:
    """An option of a net.

    Args:
        text: Its effect.
        sources: Sources of nets that support it.
        runtimes: Runtimes where it has an effect.
    """

    text: str
    sources: tuple[str, ...] = ("own", "keras")
    runtimes: tuple[str, ...] = RUNTIMES


OPTIONS = {
    "fold": Option("folded by `transforms.fold`"),
    "fold_keep": Option('folded with `decomposed="keep"`'),
    "compile": Option("compiled as a whole: XLA, or torch.compile after torch.export",
                      ("own", "keras", "timm"), ("tensorflow", "torch")),
    "eager": Option("not compiled at all", runtimes=("tensorflow", "jax")),
    "channels_first": Option("built with that axis order"),
    "channels_last": Option("in that memory format", ("timm",), ("torch",)),
    "remat": Option("with rematerialisation", ("own",), BACKENDS),
}  # fmt: skip
# Each second option undoes the first.
_CONTRADICTIONS = (
    ("compile", "eager"), ("fold", "fold_keep"), ("remat", "fold"), ("remat", "fold_keep")
)  # fmt: skip
_WORD = re.compile(r"(?:(keras|timm):)?([A-Za-z0-9_.]+)((?:\+[a-z_]+)*)@([a-z0-9]+)")


@dataclass(frozen=True)
class Case:
    """A net, its options and its runtime.

    Written `[keras:|timm:]NAME[+OPTION...]@RUNTIME`: `PDEResNet50+fold@jax`,
    `keras:MobileNetV3Large@tensorflow`, `timm:resnet50+channels_last+compile@torch`,
    `pde_resnet20_fashion_mnist+fold@openvino`.

    Args:
        source: `"own"`, `"keras"` (keras.applications) or `"timm"`.
        name: A builder or checkpoint of this package, or the source's name of the net.
        options: Keys of `OPTIONS`.
        runtime: One of `BACKENDS` or a key of `EXPORTED`.

    Example:
    >>> from keras_pdenets.benchmark import Case
    >>> case = Case("own", "PDEResNet50", ("fold",), "jax")
    >>> str(case), case.folding
    ('PDEResNet50+fold@jax', 'measure')
    """

    source: str
    name: str
    options: tuple[str, ...]
    runtime: str

    def __post_init__(self):
        """Refuse names that do not exist and options without effect."""
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
                "`options` must not repeat or combine compile with eager, fold with fold_keep, or "
                f"remat with one of these. Received: {self}"
            )
        if "remat" in self.options and "remat" not in self.architecture.family.options:
            raise ValueError(
                f"`options` must not name remat for a net without blocks. Received: {self}"
            )

    @property
    def folding(self):
        """The `decomposed` of `transforms.fold`, or None if the net is not folded."""
        modes = {"fold": "measure", "fold_keep": "keep"}
        return next((modes[option] for option in self.options if option in modes), None)

    @classmethod
    def parse(cls, word):
        """The case of a word.

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
        """The Keras backend of the process; exports use torch."""
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

"""The report of `verify`."""

from dataclasses import dataclass

from keras_pdenets.utils.text import printable

_SHOWN = 4


@dataclass(frozen=True)
class VerifyReport:
    """What `verify` found. Differences are relative to the size of what is compared.

    Args:
        source: Weights or golden file that the net was compared with.
        backend: Current backend of Keras.
        weights: Number of variables compared; 0 for a net with weights in half precision.
        changed: Names of variables with other values, in the order of the layers.
        uncompared: Names of variables that were not compared: those of a new head, in half
            precision, or without digest in the golden file.
        layers: Number of layers whose outputs were compared.
        logits: Largest difference of the logits; None without the classifier.
        largest: Largest difference of a layer's output.
        first: First layer, in the order of the graph, whose output differs by more than the
            tolerance.
        difference: Its difference.
        tolerance: Largest difference that counts as equal.

    Example:
    >>> import keras_pdenets
    >>> model = keras_pdenets.load_model("decomposed_resnet20_fashion_mnist")
    >>> kernel = model.get_layer("classifier").kernel
    >>> _ = kernel.assign(1.01 * kernel)
    >>> report = keras_pdenets.verify(model)
    >>> report.agrees, report.changed, report.first
    (False, ('classifier/kernel',), 'classifier')
    """

    source: str
    backend: str
    weights: int
    changed: tuple[str, ...]
    uncompared: tuple[str, ...]
    layers: int
    logits: float | None
    largest: float
    first: str | None
    difference: float | None
    tolerance: float

    @property
    def agrees(self) -> bool:
        """Whether all compared weights, logits and layers agree with the golden file."""
        close = self.logits is None or self.logits <= self.tolerance
        return not self.changed and self.first is None and close

    def __str__(self) -> str:
        """The report in a few lines."""
        logits = "no logits" if self.logits is None else f"logits within {self.logits:.1e}"
        line = (
            f"{self.source} on {self.backend}: {self._weights()}, {logits}, {self.layers} layers "
            f"within {self.largest:.1e} (allowed: {self.tolerance:.0e}): "
        )
        if self.agrees:
            return line + "as published" + self._exceptions()
        return "\n".join([line + "DIFFERS", self._outputs()])

    def _weights(self):
        if not self.weights:
            return "weights not compared (half precision)"
        if not self.changed:
            return f"{self.weights} weights equal"
        return f"{len(self.changed)} of {self.weights} weights changed ({_some(self.changed)})"

    def _exceptions(self):
        if not self.uncompared:
            return ""
        count = len(self.uncompared)
        return f", but for {count} weights that were not compared ({_some(self.uncompared)})"

    def _outputs(self):
        if self.first is None and self.changed:
            return "Only the weights differ: no output differs by more than the tolerance."
        if self.first is None:
            return "Only the logits differ."
        text = (
            f"The first layer whose output differs is {printable(self.first)}, by "
            f"{self.difference:.1e}; all layers before it agree."
        )
        if self.weights and not self.changed:
            return f"{text} All weights are right: the backend or the machine computes differently."
        return text


def _some(names):
    return ", ".join(printable(name) for name in names[:_SHOWN]) + ", ..." * (len(names) > _SHOWN)

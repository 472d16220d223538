"""What a conversion did."""

from collections import Counter
from dataclasses import dataclass

from keras_pdenets.utils.tables import write_rows


@dataclass(frozen=True)
class ConvertedLayer:
    """One layer that was converted.

    Args:
        name: Its name.
        operator: `"pde"` or `"decomposed"`.
        middle: Channels between the two convolutions of a decomposed one, or None.
        error: Energy of the error of its outputs (behind a shortcut that is added at once: of the
            sum), relative to that of the outputs it aims at.
        parameters: Numbers of its kernels, before and after.
        operations: Its operations for one example, two for each product, before and after; None
            where sizes are open.
    """

    name: str
    operator: str
    middle: int | None
    error: float
    parameters: tuple[int, int]
    operations: tuple[int, int] | None


@dataclass(frozen=True)
class ConvertReport:
    """What `convert` did.

    Args:
        layers: The layers that were converted, in the order of the net.
        left: Why other convolutions are as they were, by name.
        parameters: Weights of the net, before and after.
        operations: Operations of all linear layers of the net for one example, before and after;
            None where sizes are open.
        norms: Number of batch norms whose statistics were corrected.
        agreement: Share of held-out images that both nets give the same class, or None.
        accuracy: Shares of these of the right class, before and after, or None without labels.
        seconds: Time that it took.

    Example:
    >>> import keras
    >>> import numpy as np
    >>> from keras_pdenets.transforms import convert
    >>> conv = keras.layers.Conv2D(4, 3, padding="same", name="conv")
    >>> net = keras.Sequential([keras.Input((8, 8, 4)), conv])
    >>> images = np.random.default_rng(0).normal(size=(20, 8, 8, 4))
    >>> _, report = convert(net, operator="pde", data=images, verbose=0)
    >>> [layer.name for layer in report.layers], report.parameters
    (['conv'], (148, 100))
    """

    layers: tuple[ConvertedLayer, ...]
    left: dict[str, str]
    parameters: tuple[int, int]
    operations: tuple[int, int] | None
    norms: int
    agreement: float | None
    accuracy: tuple[float, float] | None
    seconds: float

    def __str__(self) -> str:
        """The report in a few lines."""
        worst = max(self.layers, key=lambda layer: layer.error)
        lines = [
            f"{len(self.layers)} convolutions converted in {self.seconds:.0f} s, {len(self.left)} "
            f"left, {self.norms} batch norms corrected",
            f"largest error of a layer's outputs: {worst.error:.2g} of their energy ({worst.name})",
            f"weights: {self.parameters[0]:,} before, {self.parameters[1]:,} after",
        ]
        if self.operations is not None:
            before, after = self.operations
            lines.append(
                f"operations of linear layers: {before:,} before, {after:,} after "
                f"({after / before:.2f})"
            )
        if self.agreement is not None:
            lines.append(f"same class as before: {100 * self.agreement:.2f} % of held-out images")
        if self.accuracy is not None:
            was, now = (100 * value for value in self.accuracy)
            lines.append(f"accuracy on these: {was:.2f} % before, {now:.2f} % after")
        for reason, count in Counter(self.left.values()).items():
            names = [name for name, why in self.left.items() if why == reason]
            more = "" if count <= 3 else f" and {count - 3} more"
            lines.append(f"left: {', '.join(names[:3])}{more} ({reason})")
        return "\n".join(lines)

    def write_csv(self, path):
        """Write one row for each layer, whole or not at all."""
        write_rows(path, [_row(layer) for layer in self.layers])


def _row(layer):
    operations = layer.operations or (None, None)
    return {
        "layer": layer.name, "operator": layer.operator, "middle": layer.middle,
        "error": f"{layer.error:.6g}", "parameters": layer.parameters[0],
        "parameters_after": layer.parameters[1], "operations": operations[0],
        "operations_after": operations[1],
    }  # fmt: skip

"""Results of a benchmark: a table, the raw times, machine and software."""

import os
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from keras_pdenets.utils.atomic import write_file
from keras_pdenets.utils.machine import processor
from keras_pdenets.utils.tables import write_rows

_PACKAGES = ("keras", "tensorflow", "jax", "torch", "timm", "onnxruntime", "openvino")


@dataclass(frozen=True)
class Timing:
    """One case's row.

    Args:
        name: The case.
        parameters: Number of weights before folding.
        operations: Operations of the forward pass for one example, or None.
        seconds: Time of a step in each round.
        ratios: The same, divided by the reference's in the same round.
        peak_bytes: Peak memory without the libraries, or None.
        gpu: Name of the GPU; None on the CPU.

    Example:
    >>> from keras_pdenets.benchmark import Timing
    >>> timing = Timing("PDEResNet50@jax", 1000, None, (0.4, 0.2, 0.3), (1.0, 1.0, 1.0), None)
    >>> timing.quartiles(timing.seconds)
    (0.25, 0.3, 0.35)
    """

    name: str
    parameters: int
    operations: int | None
    seconds: tuple[float, ...]
    ratios: tuple[float, ...]
    peak_bytes: int | None
    gpu: str | None = None

    def quartiles(self, values):
        """First quartile, median, third quartile."""
        return tuple(float(v) for v in np.percentile(values, (25, 50, 75)))


def table(results, batch):
    """The results in Markdown."""
    lines = [
        "| case | parameters | GFLOP/image | ms/step | images/s | time / reference | peak MiB |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for result in results:
        low, middle, high = (1e3 * t for t in result.quartiles(result.seconds))
        ratio = "{1:.2f} ({0:.2f}-{2:.2f})".format(*result.quartiles(result.ratios))
        flops = "" if result.operations is None else f"{result.operations / 1e9:.2f}"
        peak = "" if result.peak_bytes is None else f"{result.peak_bytes / 2**20:,.0f}"
        lines.append(
            f"| `{result.name}` | {result.parameters:,} | {flops} "
            f"| {middle:.1f} ({low:.1f}-{high:.1f}) | {1e3 * batch / middle:.1f} | {ratio} "
            f"| {peak} |"
        )
    return "\n".join(lines)


def write_results(results, setting, folder, command):
    """Write `report.md` and `times.csv` into a folder."""
    folder = Path(folder)
    rounds = len(results[0].seconds)
    lines = [
        f"# Benchmark: {setting.mode}, {setting.size} px, batch {setting.batch}, {setting.dtype}",
        "",
        f"`{command}`",
        "",
        f"{rounds} rounds, every case once in each, in a process of its own, one at a time; "
        f"median and quartiles. Reference: `{results[0].name}`. "
        f"{where(setting.device, results[0].gpu)}",
        "",
        table(results, setting.batch),
    ]
    text = "\n".join(lines) + "\n"
    write_file(folder / "report.md", text)
    rows = [
        {"case": result.name, "round": i, "seconds": f"{t:.6f}"}
        for result in results
        for i, t in enumerate(result.seconds)
    ]
    write_rows(folder / "times.csv", rows)


def where(device, gpu=None):
    """Machine and software in one sentence."""
    versions = []
    for package in _PACKAGES:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    load = os.getloadavg()[0]
    return (
        f"{processor()}, {len(os.sched_getaffinity(0))} cores, "
        f"device {device}{f' ({gpu})' if gpu else ''}; "
        f"load of the machine at the end {load:.1f}; {', '.join(versions)}."
    )

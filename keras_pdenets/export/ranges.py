"""Ranges of the tensors of an ONNX net, in memory independent of the number of images.

ONNX Runtime's calibration keeps every output of every layer until the last image, and needs batches
of one size. Here, two passes keep two numbers and then one histogram per tensor; ONNX Runtime
chooses the range from the histogram.
"""

from pathlib import Path

import numpy as np

from keras_pdenets.utils.extras import require

# ONNX Runtime's names of calibrations, and the bins of their histograms: of absolute values for a
# percentile, of values for the entropy, where the quantised histogram has as many bins.
_PERCENTILE = 99.99
_BINS = {"percentile": 2048, "entropy": 128}


def ranges_of(path, images, calibration, operations, batch):
    """The range of every input and output tensor of some operations.

    Args:
        path: The ONNX file.
        images: The images.
        calibration: `"percentile"`, `"minmax"` or `"entropy"`.
        operations: Types of the operations.
        batch: Images per batch.

    Returns:
        Smallest and largest value by tensor name.

    Raises:
        ValueError: If a value is not finite.
    """
    run = _runner(path, operations)
    ranges, limits = {}, {}
    for part in _batches(images, batch):
        for name, values in run(part):
            ranges[name] = _wider(ranges.get(name), values)
            if calibration == "percentile":
                limits[name] = _wider(limits.get(name), np.abs(values))
    for name, (low, high) in ranges.items():
        if not np.isfinite([low, high]).all():
            raise ValueError(f"`images` must give finite features. Received: {high} in {name}")
        if calibration == "entropy":
            largest = max(abs(low), abs(high))
            limits[name] = (-largest, largest)
    if calibration == "minmax":
        return ranges
    histograms = {}
    for part in _batches(images, batch):
        for name, values in run(part):
            values = np.abs(values) if calibration == "percentile" else values
            counts, edges = np.histogram(values, _BINS[calibration], limits[name])
            before = histograms[name][0] if name in histograms else 0
            histograms[name] = (before + counts, edges.astype("float32"), *ranges[name])
    return {name: found[:2] for name, found in _chosen(histograms, calibration).items()}


def _wider(before, values):
    """Smallest and largest value, including the previous ones."""
    now = values.min(), values.max()
    return now if before is None else (np.minimum(before[0], now[0]), np.maximum(before[1], now[1]))


def _batches(images, size):
    return (images[i : i + size] for i in range(0, len(images), size))


class Once:
    """A single batch in ONNX Runtime's interface of calibration data.

    Args:
        name: Name of the net's input.
        images: The batch.
    """

    def __init__(self, name, images):
        self.left = [{name: images}]

    def get_next(self):
        """The batch by the input's name, then None."""
        return self.left.pop() if self.left else None


def _runner(path, operations):
    """A function from images to the tensors, by name, that ONNX Runtime calibrates."""
    tools = require("onnxruntime.quantization", "export")
    calibrator = tools.create_calibrator(
        Path(path),
        operations,
        augmented_model_path=str(Path(path).with_name("augmented.onnx")),
        calibrate_method=tools.CalibrationMethod.Percentile,
    )
    session, names = calibrator.infer_session, sorted(calibrator.tensors_to_calibrate)
    source = session.get_inputs()[0].name
    return lambda images: zip(names, session.run(names, {source: images}), strict=True)


def _chosen(histograms, calibration):
    """ONNX Runtime's range for each histogram, for which it has no public function."""
    collector = require("onnxruntime.quantization.calibrate", "export").HistogramCollector(
        method=calibration,
        symmetric=calibration == "percentile",
        num_bins=_BINS[calibration],
        num_quantized_bins=_BINS["entropy"],
        percentile=_PERCENTILE,
        scenario="same",
    )
    collector.histogram_dict = histograms
    return collector.compute_collection_result()

"""The perturbations of a net while it is trained."""

import keras

from keras_pdenets.analysis.perturbation import PerturbationProbe
from keras_pdenets.utils.checks import check_integer, check_path
from keras_pdenets.utils.tables import read_rows, write_rows

_COLUMNS = ("section", "num_blocks", "distance", "scaled_distance", "mean", "largest")


class PerturbationLogger(keras.callbacks.Callback):
    """Measures the perturbations of a residual net after every epoch.

    What `measure_perturbation` gives for each section goes into `logs`, and so into `History`, the
    progress bar and other callbacks behind this one (TensorBoard, CSVLogger), as
    `d_scaled_s0`, `mean_s0`, `largest_s0` and so on; and into a CSV file with one row for each
    epoch and section.

    Args:
        images: Images to measure on, as in `measure_perturbation`; a few hundred are enough.
        path: The CSV file, written atomically after every measurement; an existing one
            is continued. None: no file.
        every: Epochs from one measurement to the next.
        batch_size: Images in a step.

    Raises:
        ValueError: If `every` is not a positive integer, or the model has no residual block.

    Example:
    >>> import keras_pdenets
    >>> images, _ = keras_pdenets.data.load_sample()
    >>> logger = keras_pdenets.training.PerturbationLogger(images[:100])
    """

    def __init__(self, images, path=None, every=1, batch_size=128):
        super().__init__()
        self.images = images
        self.path = None if path is None else check_path("path", path)
        self.every = check_integer("every", every, 1)
        self.batch_size = check_integer("batch_size", batch_size, 1)
        self._probe = None

    def on_train_begin(self, logs=None):
        """Find the residual blocks: a model without any is refused before the first step."""
        self._probe = PerturbationProbe(self.model)

    def on_epoch_end(self, epoch, logs=None):
        """Measure and record."""
        if (epoch + 1) % self.every:
            return
        report = self._probe.measure(self.images, self.batch_size)
        for section in report.sections:
            if logs is not None:
                logs[f"d_scaled_s{section.section}"] = section.scaled_distance
                logs[f"mean_s{section.section}"] = section.mean
                logs[f"largest_s{section.section}"] = section.largest
        if self.path is not None:
            self._write(epoch + 1, report)

    def _write(self, epoch, report):
        rows = []
        if self.path.exists():
            # A resumed run repeats the epoch that it was in.
            rows = [row for row in read_rows(self.path) if int(row["epoch"]) < epoch]
        for section in report.sections:
            rows.append({"epoch": epoch} | {name: getattr(section, name) for name in _COLUMNS})
        write_rows(self.path, rows)

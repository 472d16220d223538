"""From a folder of images by class to a net for them."""

import dataclasses
import time

import numpy as np

from keras_pdenets.applications import load_model
from keras_pdenets.export import export
from keras_pdenets.export.formats import format_named
from keras_pdenets.export.runtime import runtime_of
from keras_pdenets.finetuning.images import open_images
from keras_pdenets.finetuning.job import AUGMENTATIONS, UNFROZEN, Job
from keras_pdenets.finetuning.report import REPORT, FinetuneReport, score
from keras_pdenets.hub.files import read_checkpoint
from keras_pdenets.hub.source import WeightsSource
from keras_pdenets.plots import plot_confusion
from keras_pdenets.training.phases import best_of, is_better
from keras_pdenets.training.predicting import save_classifier
from keras_pdenets.training.trainer import WEIGHTS, train
from keras_pdenets.utils.atomic import write_file
from keras_pdenets.utils.checks import check_flag, check_integer, check_path
from keras_pdenets.utils.extras import require
from keras_pdenets.utils.locking import locked
from keras_pdenets.utils.machine import machine

MODEL, ONNX, PICTURE = "model.keras", "model.onnx", "confusion.png"


def finetune(
    preset,
    folder,
    out,
    *,
    image_size=None,
    channels=None,
    epochs=(5, 15),
    learning_rates=(1e-2, 3e-3),
    batch_size=None,
    validation=0.2,
    flip=True,
    augmentations=AUGMENTATIONS,
    seed=0,
    unreadable="error",
    onnx=True,
    limit_minutes=None,
    verbose="auto",
):
    """Fine-tune a pretrained net on a folder of images, and write it with a report of its errors.

    A new head is trained on the frozen backbone, then all layers but the batch norms, which stay as
    they are. Of all epochs the one that is most accurate on the validation images is kept. Killed
    at any moment, the same call goes on from the last whole epoch, to the same curve; so does one
    with `out` and `folder` where they were moved to.

    Into `out` go `model.keras` (normalisation and names of the classes inside: `keras-pdenets
    predict out/model.keras IMAGE`), `model.onnx`, `report.json`, `confusion.png`, and in `frozen/`
    and `unfrozen/` the runs of the two phases.

    Args:
        preset: Name of a preset, or a weight file.
        folder: One folder of images for each class, or `train` and `validation` (or `val`), perhaps
            `test`, that have these. JPEG, PNG, BMP, GIF, WebP, TIFF, PPM; grey, palette, CMYK, with
            transparency (white behind it), turned by EXIF.
        out: Folder of the job: new, or that of the same job.
        image_size: Side of the images in pixels; None: the net's own. Photographs want more than
            28.
        channels: 1: shades of grey; 3: colour; None: grey if all files are.
        epochs: Number with the backbone frozen, and with all layers trained.
        learning_rates: Peak rates of the two phases, each followed by a cosine.
        batch_size: Images in a step, at most those to train on; None: a sixteenth of these, from 8
            to 32.
        validation: Share of each class that chooses the epoch, where the folder has no such part.
        flip: Mirror one half of the images; not for digits or letters.
        augmentations: Layers of Keras, as in a recipe; `()`: none. Images are shifted by up to a
            sixteenth of their side besides.
        seed: Seed of weights, division, order and augmentation.
        unreadable: `"error"`: a file that cannot be read is named; `"skip"`: and left out.
        onnx: Whether `model.onnx` is written too, which needs the extra `export`.
        limit_minutes: Stop before an epoch that would end after this time.
        verbose: As in `keras.Model.fit`.

    Returns:
        A `FinetuneReport`; None where `limit_minutes` were too few: the same call goes on.

    Raises:
        ValueError: If an argument is out of range, there are fewer than two classes, a class has
            too few images, a file cannot be read, or `out` holds something else.
        FileNotFoundError: If there is no such folder.
        ImportError: If Pillow, matplotlib or what writes ONNX is missing.
        InUseError: If another process works in `out` (a `RuntimeError`).
        WeightsError: If the net's weights cannot be obtained.

    Example:
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> import keras_pdenets
    >>> home, (images, labels) = Path(tempfile.mkdtemp()), keras_pdenets.data.load_sample()
    >>> for name, label in (("shirt", 6), ("boot", 9)):
    ...     (home / "data" / name).mkdir(parents=True)
    ...     for i, image in enumerate(images[labels == label][:10, ..., 0]):
    ...         Image.fromarray(image).save(home / "data" / name / f"{i}.png")
    >>> report = keras_pdenets.finetune(
    ...     "pde_resnet20_fashion_mnist", home / "data", home / "out", epochs=(6, 1), batch_size=4,
    ...     onnx=False, verbose=0)
    >>> report.class_names, report.accuracy > 50, (home / "out" / "model.keras").exists()
    (('boot', 'shirt'), True, True)
    """
    began = time.monotonic()
    out = check_path("out", out)
    check_flag("onnx", onnx)
    check_integer("seed", seed, 0, 2**32 - 2)
    _check_extras(onnx)
    with WeightsSource.parse(preset).resolve() as file:
        found = read_checkpoint(file)
    side = found.input_shape[0] if image_size is None else image_size
    if channels not in (None, 1, 3):
        raise ValueError(f"`channels` must be None, 1 or 3. Received: channels={channels!r}")
    check_integer("image_size", side, 8, 2**12)
    images = open_images(folder, side, channels, validation, seed, unreadable, verbose)
    checkpoint = dataclasses.replace(
        found, input_shape=(side, side, images.channels), classes=len(images.class_names),
        class_names=images.class_names,
    )  # fmt: skip
    job = Job(
        str(preset), images.digest, checkpoint, epochs, learning_rates,
        _batch_size(batch_size, images.train.num_examples),
        validation, flip, augmentations, seed,
    )  # fmt: skip
    recipes = job.recipes()
    with locked(out):
        job.claim(out)
        if (out / REPORT).is_file() and (out / MODEL).is_file():
            return FinetuneReport.read(out)
        logs = {}
        for name, recipe in recipes.items():
            left = None if limit_minutes is None else _left(limit_minutes, began)
            data = images.train, images.validation
            home = out if name == UNFROZEN else None
            logs[name] = train(
                recipe, out / name, left, verbose=verbose, data=data, start_folder=home
            )
            if len(logs[name]) < recipe.epochs:
                return None
        return _finish(job, images, logs, out, onnx)


def _check_extras(onnx):
    """Raise ImportError for what is missing, before any work."""
    require("PIL.Image", "images")
    require("matplotlib.figure", "plots")
    if onnx:
        row = format_named("onnx")
        try:
            runtime_of(row)
            row.backends("torch")
        except ImportError as error:
            raise ImportError(f"{error} Or do without: onnx=False (--no-onnx).") from error


def _batch_size(given, count):
    """Images in a step: few where there are few, so that an epoch has some steps."""
    wanted = min(max(count // 16, 8), 32) if given is None else given
    return min(check_integer("batch_size", wanted, 1), count)


def _left(limit, began):
    return max(0.0, limit - (time.monotonic() - began) / 60)


def _finish(job, images, logs, out, onnx):
    """The best net, measured and written; the report comes last."""
    phase = max(logs, key=lambda name: _rank(logs, name))
    model = load_model(out / phase / WEIGHTS)
    names = images.class_names
    scores = {
        name: _measure(model, images.sets[name], len(names))
        for name in ("validation", "test")
        if name in images.sets
    }
    save_classifier(model, out / MODEL, names)
    if onnx:
        export(model, out / ONNX, "onnx")
    shown = "test" if "test" in scores else "validation"
    accuracy, count = scores[shown]["accuracy"], images.sets[shown].num_examples
    plot_confusion(
        scores[shown]["confusion"], names, out / PICTURE,
        title=f"{accuracy:.1f} % of {count} images ({shown})",
    )  # fmt: skip
    report = FinetuneReport(
        folder=str(out), preset=job.preset, class_names=names,
        images={name: _counts(part, names) for name, part in images.sets.items()},
        phase=phase, epoch=int(best_of(logs[phase])["epoch"]), scores=scores, logs=logs,
        seconds=round(sum(row["seconds"] for log in logs.values() for row in log), 2),
        machine=machine(),
    )  # fmt: skip
    write_file(out / REPORT, report.to_json())
    return report


def _rank(logs, name):
    """Whether the best epoch of a phase is the best of all; of equals that of the later phase."""
    rows = [best_of(log) for log in logs.values()]
    mine = best_of(logs[name])
    return not any(is_better(row, mine) for row in rows), list(logs).index(name)


def _measure(model, images, classes):
    batches = images.batches(256)
    labels = np.concatenate([labels for _, labels in batches])
    return score(model.predict(batches, verbose=0), labels, classes)


def _counts(images, names):
    labels = np.concatenate([labels for _, labels in images.batches(256)])
    return {name: int((labels == i).sum()) for i, name in enumerate(names)}

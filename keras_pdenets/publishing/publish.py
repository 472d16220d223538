"""From a preset of this checkout to a tested Hub repository and its row.

1. The file with the pinned hash is loaded strictly and compared with its golden file.
2. Its accuracy is measured and must be that of the card.
3. All files are uploaded in one commit, on top of the commit seen before.
4. The Hub's sizes and hashes are compared.
5. Everything is downloaded without a token into an empty cache and measured again.
6. Only then are the tag and the row of the table written, by which `weights=` finds it.

If it ends before, there is neither; the same call finds the commit and resumes.
"""

import contextlib
import dataclasses
import json
import shutil
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from keras_pdenets.analysis.verification import verify
from keras_pdenets.applications import load_model
from keras_pdenets.data import DataSource, load_sample
from keras_pdenets.hub.digests import sha256_of
from keras_pdenets.hub.errors import IntegrityError, WeightsError
from keras_pdenets.hub.golden import GOLDEN_FILE
from keras_pdenets.hub.source import CHECKOUT_WEIGHTS, WeightsSource
from keras_pdenets.presets import PRESETS_FILE, Preset, write_preset
from keras_pdenets.publishing.card import CARD, PICTURE, card
from keras_pdenets.publishing.native import NATIVE_FILE, PARTS, write_native
from keras_pdenets.publishing.speed import read_speed
from keras_pdenets.publishing.upload import (
    check_target,
    commit_files,
    describe_files,
    read_back,
    tag_commit,
)
from keras_pdenets.training.recipe import Recipe
from keras_pdenets.training.trainer import LOG, RECIPE, WEIGHTS, evaluate
from keras_pdenets.utils.locking import locked

METADATA_FILE = "keras_pdenets.json"
# Percent: one image of a thousand may lie on the border between two classes.
_BORDER = 0.11
_SHOWN = 24


@dataclass(frozen=True)
class Publication:
    """The result of `publish`.

    Args:
        preset: The row; with `repo` and `revision` once published.
        repo: The repository.
        tag: The tag.
        files: Size and SHA-256 of each file.
        card: Text of the card.
        measured: The evaluation in words.
        commit: The commit; None after a dry run.
        reused: Whether the commit existed before.
    """

    preset: Preset
    repo: str
    tag: str
    files: dict
    card: str
    measured: str
    commit: str | None = None
    reused: bool = False

    def __str__(self) -> str:
        """The whole report."""
        lines = [f"{self.preset.name} to {self.repo}, {self.tag}: {self.measured}"]
        lines += [
            f"  {entry['size']:>12,}  {entry['sha256']}  {name}"
            for name, entry in self.files.items()
        ]
        if self.commit is None:
            return "\n".join([*lines, "", self.card.rstrip(), "", "Dry run: nothing was sent."])
        how = "found" if self.reused else "made"
        row = {"name": self.preset.name, "repo": self.repo, "revision": self.commit}
        return "\n".join([*lines, f"commit {self.commit} ({how}), read back and measured; row:",
                          json.dumps(row)])  # fmt: skip


def publish(
    preset,
    repo,
    really=False,
    tag=None,
    sample=None,
    data_dir=None,
    draw=None,
    weights_folder=CHECKOUT_WEIGHTS,
    presets_file=PRESETS_FILE,
):
    """Publish a preset, or report what would be published.

    Args:
        preset: The row.
        repo: `organisation/repository`; it is created if necessary. The token is the client's own
            (`hf auth login` or HF_TOKEN).
        really: If false, nothing is sent.
        tag: Tag of the commit; None: the package's version, such as `v0.1.0`.
        sample: Whether to measure on the bundled sample. None: if the card has a number for it,
            which takes seconds and no data set; otherwise on the whole test split.
        data_dir: Folder of TFDS, for the test split.
        draw: `plots.plot_predictions`, which this package cannot import, or None for no picture.
        weights_folder: Folder of the presets' folders, with recipe, log and golden file; missing
            weights come from the present source in the row.
        presets_file: The table for the new row.

    Returns:
        A `Publication`.

    Raises:
        ValueError: If a name is invalid, or the card has no number to compare with.
        WeightsError: If the evaluation differs, or the Hub refuses or returns other bytes. There is
            no tag and no row then.
        InUseError: If another process is using the preset's folder (a `RuntimeError`).
    """
    tag = tag or f"v{version('keras-pdenets')}"
    check_target(repo, tag, {})
    # Before the row has the new repository, which is still empty.
    weights = WeightsSource.of(preset, weights_folder).resolve().path
    preset = dataclasses.replace(preset, repo=repo)
    measured = _measure(preset, weights, sample, data_dir)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(weights_folder) / preset.name
        with locked(source) if source.is_dir() else contextlib.nullcontext():
            files = _prepare(preset, weights, Path(folder), source, draw, data_dir)
        text = files[CARD].read_text(encoding="utf-8")
        done = Publication(preset, repo, tag, describe_files(files), text, measured)
        if not really:
            return done
        commit, reused = commit_files(repo, files, tag, f"{preset.name}, {tag}")
        with tempfile.TemporaryDirectory() as cache:
            found = read_back(repo, commit, files, Path(cache))
            _verified(str(found[WEIGHTS]), found[GOLDEN_FILE])
            _measure(preset, found[WEIGHTS], sample, data_dir)
        tag_commit(repo, commit, tag)
    row = dataclasses.replace(preset, revision=commit)
    write_preset(row, presets_file)
    return dataclasses.replace(done, preset=row, commit=commit, reused=reused)


def _measure(preset, path, sample, data_dir):
    """Evaluate a file; raise WeightsError unless the accuracy is the card's."""
    if sample is None:
        sample = "sample_accuracy" in preset.metrics
    name, key = ("sample", "sample_accuracy") if sample else (preset.dataset, "test_accuracy")
    if key not in preset.metrics:
        raise ValueError(f"`sample` must be False: the card of {preset.name} has no {key}.")
    claimed = preset.metrics[key]
    result = evaluate(preset.checkpoint, path, name, preset.split, data_dir)
    text = f"{result['accuracy']:.2f} % on {result['images']} images, card {claimed:.2f} %"
    if not abs(result["accuracy"] - claimed) <= _BORDER:
        raise WeightsError(f"{preset.name} has an accuracy of {text}. It is not published.")
    return text


def _verified(weights, golden):
    """Raise IntegrityError unless weights and outputs agree with the golden file."""
    report = verify(weights, golden)
    if not report.agrees:
        raise IntegrityError(f"{report}. It is not published.")


def _prepare(preset, weights, folder, source, draw, data_dir):
    """Write all files of the repository to a folder; the same preset gives the same bytes."""
    for name in (RECIPE, LOG, GOLDEN_FILE):
        if not (source / name).is_file():
            raise ValueError(f"{source / name} is missing: publish from a checkout.")
        shutil.copyfile(source / name, folder / name)
    shutil.copyfile(weights, folder / WEIGHTS)
    golden = folder / GOLDEN_FILE
    if preset.golden is None or sha256_of(golden) != preset.golden["sha256"]:
        raise IntegrityError(f"{source / GOLDEN_FILE} does not have the hash in the row.")
    _verified(str(folder / WEIGHTS), golden)
    model = load_model(folder / WEIGHTS, dtype="float32", data_format="channels_last")
    images, labels = _images(preset, data_dir)
    write_native(model, folder, images)
    if draw is not None:
        answers = model.predict(images, verbose=0)
        draw(images, labels, answers, preset.checkpoint.class_names, folder / PICTURE)
    recipe = Recipe.from_file(folder / RECIPE)
    text = card(preset, recipe, picture=draw is not None, speed=read_speed(source))
    (folder / CARD).write_text(text, encoding="utf-8")
    files = {path.name: path for path in folder.iterdir()}
    named = {name: files[name] for name in (WEIGHTS, GOLDEN_FILE, NATIVE_FILE, *PARTS)}
    (folder / METADATA_FILE).write_text(_metadata(preset, named), encoding="utf-8")
    return {path.name: path for path in sorted(folder.iterdir())}


def _images(preset, data_dir):
    """A few test images, as floats, and their labels."""
    if "sample_accuracy" in preset.metrics:
        images, labels = load_sample()
        chosen = slice(None, None, len(images) // _SHOWN)
        images, labels = images[chosen], labels[chosen]
    else:
        batches = DataSource(preset.dataset, preset.split, data_dir).batches(_SHOWN)
        images, labels = (np.asarray(part) for part in next(iter(batches)))
    return images[:_SHOWN].astype("float32"), labels[:_SHOWN]


def _metadata(preset, files):
    """Our own record: the files and the row, without the commit that is not known yet."""
    row = dataclasses.asdict(preset)
    del row["repo"], row["revision"]
    record = {"format": 1, "package": version("keras-pdenets"), "preset": row}
    return json.dumps({**record, "files": describe_files(files)}, indent=1) + "\n"

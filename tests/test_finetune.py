"""`finetune`: from a folder of photographs, in every format and one broken, to a net for them."""

import importlib.util
import json
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_pdenets
from keras_pdenets.cli import main
from keras_pdenets.finetuning.images import open_images
from keras_pdenets.finetuning.report import score
from keras_pdenets.plots import plot_confusion
from keras_pdenets.training import phases

pytestmark = pytest.mark.once
Image = pytest.importorskip("PIL.Image")
PRESET = "decomposed_resnet20_fashion_mnist"
# Sample images of scikit-learn and scikit-image, which come with their packages.
PHOTOGRAPHS = {
    "china": ("sklearn.datasets", "images/china.jpg"),
    "coffee": ("skimage", "data/coffee.png"),
    "flower": ("sklearn.datasets", "images/flower.jpg"),
    "gravel": ("skimage", "data/gravel.png"),
}
CROPS, SIDE = 20, 64
OPTIONS = {"epochs": (1, 5), "verbose": 0}


def _photograph(name):
    package, path = PHOTOGRAPHS[name]
    found = importlib.util.find_spec(package)
    if found is None:
        pytest.skip(f"{package} is not installed")
    return Image.open(Path(found.submodule_search_locations[0], path)).convert("RGB")


def _save(crop, path, number):
    """A crop in one of the formats that cameras and programs write."""
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = crop.transpose(Image.Transpose.ROTATE_90)
    clear = crop.copy()
    clear.putalpha(255)
    kinds = (
        ("png", crop, {}), ("jpg", crop, {"quality": 95}), ("jpg", crop.convert("CMYK"), {}),
        ("png", crop.convert("P"), {}), ("png", clear, {}), ("jpg", turned, {"exif": exif}),
        ("png", crop.convert("L"), {}), ("tif", crop, {}), ("webp", crop, {}),
    )  # fmt: skip
    ending, image, options = kinds[number % len(kinds)]
    image.save(path.with_suffix(f".{ending}"), **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    draws = np.random.default_rng(0)
    for name in PHOTOGRAPHS:
        (folder / name).mkdir()
        photograph = _photograph(name)
        for number in range(CROPS):
            left, top = (int(draws.integers(side - SIDE)) for side in photograph.size)
            height = SIDE if number % 2 else SIDE - 16
            crop = photograph.crop((left, top, left + SIDE, top + height))
            _save(crop, folder / name / f"{number:02}", number)
    (folder / "china" / "broken.jpg").write_bytes((folder / "china" / "01.jpg").read_bytes()[:300])
    return folder


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("job") / "out"
    return keras_pdenets.finetune(PRESET, folder, out, unreadable="skip", **OPTIONS), out


def test_a_folder_becomes_sets_of_every_class(folder):
    images = open_images(folder, 16, None, 0.2, 0, "skip", False)
    assert (images.class_names, images.channels) == (tuple(PHOTOGRAPHS), 3)
    assert {n: s.num_examples for n, s in images.sets.items()} == {"train": 64, "validation": 16}
    _, labels = images.validation.batches(16)[0]
    assert np.bincount(labels).tolist() == [4] * 4
    again = open_images(folder, 16, None, 0.2, 0, "skip", False)
    other = open_images(folder, 16, None, 0.2, 1, "skip", False)
    assert images.digest == again.digest != other.digest


@pytest.mark.slow
def test_the_whole_job(folder, finished, capsys):
    report, out = finished
    assert report.accuracy >= 50  # one of four by chance
    assert report.images["validation"] == dict.fromkeys(PHOTOGRAPHS, 4)
    rows = report.logs["frozen"] + report.logs["unfrozen"]
    assert report.accuracy == pytest.approx(100 * max(row["test_accuracy"] for row in rows))
    assert "validation, which chose the epoch" in str(report)
    for name in ("model.onnx", "confusion.png", "job.json"):
        assert (out / name).stat().st_size > 100
    written = json.loads((out / "report.json").read_text())
    assert written["scores"]["validation"]["confusion"] == report.scores["validation"]["confusion"]
    # Once more: nothing is trained again.
    again = keras_pdenets.finetune(PRESET, folder, out, unreadable="skip", **OPTIONS)
    assert again.scores == report.scores
    picture = next((folder / "flower").glob("*.png"))
    capsys.readouterr()
    assert main(["predict", str(out / "model.keras"), str(picture), "--top", "1"]) == 0
    assert capsys.readouterr().out.split(": ")[1].split()[0] in PHOTOGRAPHS
    # Batch norms and, before the head was trained, the backbone are those of the preset.
    before = keras_pdenets.load_model(PRESET)
    model = keras.saving.load_model(out / "model.keras", compile=False)
    name = "stage0_block0_bn1"
    for a, b in zip(before.get_layer(name).weights, model.get_layer(name).weights, strict=True):
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (a, b)))


@pytest.mark.slow
def test_a_job_that_was_cut_and_moved_goes_on_to_the_same_curve(
    folder, finished, tmp_path, monkeypatch
):
    options = {**OPTIONS, "unreadable": "skip", "onnx": False}

    def fail(callback, batch, logs=None):
        if callback._run.recipe.preset == "unfrozen" and len(callback._run.history) == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(phases.Record, "on_train_batch_end", fail, raising=False)
        with pytest.raises(KeyboardInterrupt):
            keras_pdenets.finetune(PRESET, folder, tmp_path / "before", **options)
    assert not (tmp_path / "before" / "report.json").exists()
    (tmp_path / "before").rename(tmp_path / "out")
    report = keras_pdenets.finetune(PRESET, folder, tmp_path / "out", **options)
    for phase, rows in finished[0].logs.items():
        for row, wanted in zip(report.logs[phase], rows, strict=True):
            assert row["loss"] == pytest.approx(wanted["loss"], rel=1e-3)
            assert row["test_loss"] == pytest.approx(wanted["test_loss"], rel=1e-2)
    with pytest.raises(
        ValueError, match=r"must be a new folder.*whose job has other .*seed \(0, now"
    ):
        keras_pdenets.finetune(PRESET, folder, tmp_path / "out", seed=5, **options)


def test_what_cannot_be_used_is_refused_and_nothing_is_written(folder, tmp_path, capsys):
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=r"broken.jpg cannot be read.*--skip-unreadable"):
        keras_pdenets.finetune(PRESET, folder, out)
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
    with pytest.raises(ValueError, match="no image in a, b"):
        keras_pdenets.finetune(PRESET, tmp_path / "data", out)
    for name in ("a", "b"):
        Image.new("RGB", (9, 9)).save(tmp_path / "data" / name / "1.png")
    with pytest.raises(ValueError, match=r"two images or more.* one of a, b"):
        keras_pdenets.finetune(PRESET, tmp_path / "data", out)
    for path in (tmp_path / "data" / "b").iterdir():
        path.unlink()
    (tmp_path / "data" / "b").rmdir()
    with pytest.raises(ValueError, match="two folders or more"):
        keras_pdenets.finetune(PRESET, tmp_path / "data", out)
    assert not out.exists()
    Image.new("RGB", (9, 9)).save(tmp_path / "data" / "a" / "2.png")
    (tmp_path / "data" / "b").mkdir()
    for i in (1, 2):
        Image.new("RGB", (9, 9)).save(tmp_path / "data" / "b" / f"{i}.png")
    with pytest.raises(ValueError, match=r"`out` must be a new folder.*holds data"):
        keras_pdenets.finetune(PRESET, tmp_path / "data", tmp_path)
    for options, message in (
        ({"channels": 2}, "`channels` must be"), ({"image_size": 2}, "`image_size` must be"),
        ({"epochs": (0, 1)}, "`epochs` must be"), ({"validation": 1.5}, "`validation` must be"),
        ({"augmentations": ({"layer": "Blur"},)}, "`augmentations` must be one of"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            keras_pdenets.finetune(PRESET, tmp_path / "data", out, verbose=0, **options)
    assert main(["finetune", "resnet", str(tmp_path / "data"), "--out", str(out)]) == 1
    assert "resnet20_fashion_mnist" in capsys.readouterr().err
    assert not out.exists()


def test_scores_and_their_picture(tmp_path):
    found = score([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.1, 0.7, 0.2]], np.array([0, 1, 2]), 3)
    assert found["confusion"] == [[1, 0, 0], [0, 1, 0], [0, 1, 0]]
    assert found["accuracy"] == pytest.approx(200 / 3)
    assert (found["precision"], found["recall"]) == ([1.0, 0.5, None], [1.0, 1.0, 0.0])
    pytest.importorskip("matplotlib")
    plot_confusion(found["confusion"], ["a$", "b" * 40, "c"], tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000
    with pytest.raises(ValueError, match="`matrix` must be of shape"):
        plot_confusion([[1]], ["a", "b"], tmp_path / "b.png")

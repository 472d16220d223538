"""What a net says about image files."""

import json

import numpy as np
import pytest

from keras_pdenets import load_model
from keras_pdenets.cli import main
from keras_pdenets.data import load_sample
from keras_pdenets.training.predicting import predict

pytestmark = pytest.mark.once
Image = pytest.importorskip("PIL.Image")
PRESET = "resnet20_fashion_mnist"


def test_files_are_named_as_the_net_names_their_pixels(tmp_path, capsys):
    images, _ = load_sample()
    chosen = [0, 150, 700]
    paths = [tmp_path / f"{i}.png" for i in chosen]
    for path, i in zip(paths, chosen, strict=True):
        Image.fromarray(images[i, ..., 0]).convert("RGB").save(path)  # grey again when it is read
    model = load_model(PRESET)
    wanted = model.predict(images[chosen].astype("float32"), verbose=0)
    for (path, classes), scores in zip(predict(PRESET, paths), wanted, strict=True):
        assert path in paths
        np.testing.assert_allclose([p for _, p in classes], np.sort(scores)[::-1], atol=1e-5)
    model.save(tmp_path / "model.keras")
    (tmp_path / "classes.json").write_text(json.dumps(list("abcdefghij")))
    found = [classes[0][0] for _, classes in predict(tmp_path / "model.keras", paths)]
    assert found == ["abcdefghij"[i] for i in wanted.argmax(1)]
    assert main(["predict", PRESET, str(paths[0]), "--top", "1"]) == 0
    assert capsys.readouterr().out.endswith("%\n")
    paths[0].write_bytes(b"no image")
    assert main(["predict", PRESET, str(paths[0])]) == 1
    assert "0.png cannot be read as an image" in capsys.readouterr().err
    assert main(["predict", str(tmp_path / "none.keras"), str(paths[1])]) == 1
    assert "There is no" in capsys.readouterr().err


def test_a_preset_is_measured_on_a_folder_named_after_its_classes(tmp_path, capsys):
    images, labels = load_sample()
    for name, label in (("bag", 8), ("t_shirt_top", 0)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in np.flatnonzero(labels == label)[:10]:
            Image.fromarray(images[i, ..., 0]).save(tmp_path / "data" / name / f"{i}.png")
    command = ["evaluate", "--preset", PRESET, "--data", str(tmp_path / "data")]
    assert main(command) == 0
    found = capsys.readouterr().out
    assert "on 20 images\n" in found
    assert float(found.split("accuracy ")[1].split(" %")[0]) >= 80
    np.savez(tmp_path / "a.npz", images=images[:50], labels=labels[:50])
    assert main([*command[:-1], str(tmp_path / "a.npz")]) == 0
    assert "on 50 images\n" in capsys.readouterr().out
    (tmp_path / "data" / "bag").rename(tmp_path / "data" / "dog")
    assert main(command) == 1
    assert "named after classes of the net" in capsys.readouterr().err

"""Where images come from: folders of every format, arrays, idx files; and what is refused."""

import gzip
import struct

import numpy as np
import pytest

from keras_pdenets.data import DataSource, load_sample
from keras_pdenets.data.resizing import resize, to_square
from keras_pdenets.data.sources import source as sources
from keras_pdenets.data.sources.arrays import from_arrays, from_npz
from keras_pdenets.data.sources.files import read_image
from keras_pdenets.data.sources.folder import from_folder
from keras_pdenets.data.sources.splits import take_split

pytestmark = pytest.mark.once
Image = pytest.importorskip("PIL.Image")

RAMP = (np.mgrid[:12, :20].sum(0) * 8).astype("uint8")  # 12 rows, 20 columns
COLOURS = np.stack([RAMP, 255 - RAMP, RAMP // 2], -1)


def _save(path, mode, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(COLOURS).convert("L" if mode in ("L", "I;16") else "RGB")
    if mode == "I;16":
        picture = Image.fromarray(RAMP.astype("uint16") * 257)
    elif mode == "RGBA":
        picture.putalpha(Image.fromarray(np.where(RAMP > 120, 255, 0).astype("uint8")))
    else:
        picture = picture.convert(mode)
    picture.save(path, **options)
    return path


@pytest.mark.parametrize(
    ("name", "mode", "tolerance"),
    [("a.png", "RGB", 0), ("a.bmp", "RGB", 0), ("a.jpg", "RGB", 24), ("a.jpg", "CMYK", 24),
     ("a.tif", "CMYK", 1), ("a.gif", "P", 45), ("a.png", "P", 45), ("A.PNG", "RGB", 0)],
)  # fmt: skip
def test_files_are_read_as_colours(tmp_path, name, mode, tolerance):
    pixels = read_image(_save(tmp_path / name, mode))
    assert pixels.shape == (12, 20, 3)
    assert pixels.dtype == "uint8"
    np.testing.assert_allclose(pixels.astype(int), COLOURS, atol=tolerance)


@pytest.mark.parametrize("mode", ["L", "I;16", "1", "LA"])
def test_greys_have_one_channel_or_three(tmp_path, mode):
    path = _save(tmp_path / "a.png", mode)
    grey, colour = (read_image(path, channels) for channels in (1, 3))
    assert grey.shape == (12, 20, 1)
    np.testing.assert_array_equal(colour, np.repeat(grey, 3, -1))
    if mode == "I;16":
        np.testing.assert_array_equal(grey[..., 0], RAMP)


def test_what_is_transparent_stands_before_white(tmp_path):
    pixels = read_image(_save(tmp_path / "a.png", "RGBA"))
    opaque = RAMP > 120
    np.testing.assert_array_equal(pixels[opaque], COLOURS[opaque])
    assert (pixels[~opaque] == 255).all()


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_exif_turns_an_image(tmp_path, orientation, turns):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = read_image(_save(tmp_path / "a.png", "RGB", exif=exif))
    np.testing.assert_array_equal(pixels, np.rot90(COLOURS, turns))


@pytest.fixture
def folder(tmp_path):
    for name in ("cat", "ape"):
        for i in range(10):
            _save(tmp_path / name / f"{i}.png", "RGB" if i % 2 else "L")
    (tmp_path / "ape" / "notes.txt").write_text("no image")
    (tmp_path / ".hidden").mkdir()
    return tmp_path


def test_a_folder_of_classes(folder):
    source, lengths = from_folder(folder)
    assert source.class_names == ("ape", "cat")
    assert lengths == {"train": 16, "test": 4}
    parts = [take_split(source, lengths, split) for split in lengths]
    labels = [[int(part.read_label(i)) for i in range(len(part))] for part in parts]
    assert [np.bincount(some).tolist() for some in labels] == [[8, 8], [2, 2]]
    assert source.size == 20 * 12 * 20 * 3
    held = sources.hold(parts[0])
    assert held.in_memory
    for i in (0, 9):
        np.testing.assert_array_equal(held.read(i)[0], parts[0].read(i)[0])
        assert held.read(i)[1] == parts[0].read_label(i)


@pytest.mark.parametrize("test", ["test", "val"])
def test_a_folder_with_parts(folder, tmp_path, test):
    root = tmp_path / "root"
    for part in ("train", test):
        for name in ("ape", "cat"):
            _save(root / part / name / "a.png", "RGB")
    source, lengths = from_folder(root)
    assert lengths == {"train": 2, "test": 2}
    assert source.class_names == ("ape", "cat")
    _save(root / test / "dog" / "a.png", "RGB")
    with pytest.raises(ValueError, match=r"must have the same classes\. Received: dog in one of"):
        from_folder(root)


def test_a_broken_file_is_named_or_left_out(folder, caplog):
    data = (folder / "cat" / "3.png").read_bytes()
    (folder / "cat" / "3.png").write_bytes(data[: len(data) // 2])
    (folder / "cat" / "5.png").write_bytes(b"")
    source, lengths = from_folder(folder)
    with pytest.raises(ValueError, match=r"[35]\.png cannot be read as an image"):
        sources.hold(source)
    source, lengths = from_folder(folder, unreadable="skip")
    assert sum(lengths.values()) == 18
    assert [name for name in ("3.png", "5.png") if name in caplog.text] == ["3.png", "5.png"]
    assert sources.hold(source).in_memory


@pytest.mark.parametrize(
    ("remove", "message"),
    [("cat", "two folders or more, one for each class.* Received: ape"),
     ("cat/", "Received: no image in cat"), ("ape cat", "Received: none")],
)  # fmt: skip
def test_folders_without_classes_are_refused(folder, remove, message):
    for name in remove.split():
        path = folder / name.rstrip("/")
        for file in path.iterdir():
            file.unlink()
        if not name.endswith("/"):
            path.rmdir()
    with pytest.raises(ValueError, match=message):
        from_folder(folder)


def test_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="`data` must be a folder that exists"):
        from_folder(tmp_path / "none")


def test_files_of_arrays(tmp_path):
    images, labels = load_sample()
    path = tmp_path / "a.npz"
    np.savez(path, x_train=images[:9], y_train=labels[:9, None], x_test=images[9:],
             y_test=labels[9:])  # fmt: skip
    splits = from_npz(path)
    assert [len(splits[name]) for name in ("train", "test")] == [9, 991]
    np.savez(path, images=images[..., 0], labels=labels, class_names=list("abcdefghij"))
    (whole,) = from_npz(path).values()
    assert whole.image_shape == (28, 28, 1)
    assert whole.class_names[1] == "b"
    np.savez(path, pictures=images)
    with pytest.raises(ValueError, match=r"x_train, y_train, x_test and y_test.*pictures"):
        from_npz(path)
    path.write_bytes(b"PK")
    with pytest.raises(ValueError, match="cannot be read as a file of arrays"):
        from_npz(path)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [(np.zeros((3, 4)), [0] * 3, "`images` must be numbers of shape"),
     (np.zeros((3, 4, 4, 1)), [0] * 2, "`labels` must be 3 integers, one for each image"),
     (np.zeros((3, 4, 4, 1)), np.eye(3), "`labels` must be 3 integers"),
     (np.zeros((3, 4, 4, 1), "complex64"), [0] * 3, "Received: the arrays with complex64"),
     (np.zeros((0, 4, 4, 1)), [], "of shape .0, 4, 4, 1."),
     (np.zeros((3, 4, 4)), None, "Received: the arrays with object of shape ")],
)  # fmt: skip
def test_arrays_that_cannot_be_used(images, labels, message):
    with pytest.raises(ValueError, match=message):
        from_arrays(images, labels)


@pytest.mark.parametrize(
    ("split", "wanted"),
    [("train", range(10)), ("test", range(10, 14)), ("train[:3]+test[-1:]", [0, 1, 2, 13]),
     ("train[50%:80%]", [5, 6, 7]), ("test[2:]", [12, 13])],
)  # fmt: skip
def test_splits(split, wanted):
    source = from_arrays(np.arange(14)[:, None, None] + np.zeros((1, 2, 2)), np.arange(14))
    part = take_split(source, {"train": 10, "test": 4}, split)
    assert [int(part.read(i)[1]) for i in range(len(part))] == list(wanted)


@pytest.mark.parametrize(
    ("split", "message"),
    [("valid", "must be of train, test, the splits of the arrays"), ("train[:", "names of splits"),
     ("train[5:2]", "must hold images of the arrays")],
)  # fmt: skip
def test_bad_splits(split, message):
    source = from_arrays(np.zeros((3, 2, 2)), np.zeros(3, int))
    with pytest.raises(ValueError, match=message):
        take_split(source, {"train": 2, "test": 1}, split)


def _idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))


def test_idx_files_of_any_folder(tmp_path):
    images, labels = load_sample()
    for prefix, part in (("train", slice(20)), ("t10k", slice(20, 30))):
        _idx(tmp_path / f"{prefix}-images-idx3-ubyte.gz", images[part, ..., 0])
        _idx(tmp_path / f"{prefix}-labels-idx1-ubyte.gz", labels[part].astype("uint8"))
    source = DataSource("fashion_mnist", "test[2:]", tmp_path)
    found, names = source.batches(8)[0][0], source.class_names
    np.testing.assert_array_equal(found, images[22:30])
    assert names[1] == "Trouser"
    assert DataSource("fashion_mnist[:2]", "train", tmp_path).class_names == names[:2]
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte.gz is not a whole idx file"):
        _ = DataSource("mnist", "test", tmp_path).num_examples


@pytest.mark.parametrize(("before", "after"), [(28, 14), (14, 28), (32, 7), (9, 9), (10, 7)])
def test_resizing_is_that_of_pillow(before, after):
    image = np.random.default_rng(0).uniform(0, 255, (before, before)).astype("float32")
    wanted = Image.fromarray(image).resize((after, after), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(
        resize(image[None, ..., None], after, after)[0, ..., 0], np.asarray(wanted), atol=0.01
    )


def test_photographs_are_cut_at_the_centre():
    image = np.broadcast_to(np.arange(80.0, dtype="float32")[None, :, None], (40, 80, 1))
    square = to_square(image[None], 32, square=False)
    assert square.shape == (1, 32, 32, 1)
    assert square.mean() == pytest.approx(39.5, abs=0.5)

"""Sets of TFDS, of files and of arrays as batches, on generated and on real data."""

import numpy as np
import pytest

from keras_pdenets.data import (
    DataSource,
    class_names,
    load_dataset,
    load_sample,
)
from keras_pdenets.data.sources import source as sources
from keras_pdenets.data.sources.idx import DEBIAN_FOLDER

pytestmark = pytest.mark.once

tfds = pytest.importorskip("tensorflow_datasets")


def _arrays(batches):
    images, labels = zip(*batches, strict=True)
    return np.concatenate(images), np.concatenate(labels)


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [
        ("kmnist", (28, 28, 1), 10),
        ("emnist", (28, 28, 1), 62),
        ("cifar10", (32, 32, 3), 10),
        ("cifar100", (32, 32, 3), 100),
    ],
)
def test_sets_of_small_images(name, shape, classes, tmp_path):
    with tfds.testing.mock_data(num_examples=12):
        images, labels = _arrays(load_dataset(name, "train", 5, data_dir=str(tmp_path)))
        assert len(class_names(name, str(tmp_path))) == classes
    assert images.shape == (12, *shape)
    assert images.dtype == "float32"
    assert images.max() > 1  # pixels, not shares
    assert labels.max() < classes


@pytest.mark.parametrize("name", ["imagenette", "imagenet2012"])
def test_sets_of_photographs_need_a_size(name, tmp_path):
    with tfds.testing.mock_data(num_examples=3):
        batches = load_dataset(name, "train", 2, image_size=64, flip=True, crop=4, seed=1,
                               data_dir=str(tmp_path))  # fmt: skip
        assert _arrays(batches)[0].shape == (2, 64, 64, 3)
        with pytest.raises(ValueError, match=f"`image_size` must be given: the images of {name}"):
            load_dataset(name, "train", 2, data_dir=str(tmp_path))


def test_archives_that_one_has_to_fetch_oneself_are_asked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"should contain two files: ILSVRC2012_img_train"):
        load_dataset("imagenet2012[::10]", "train", 2, image_size=64, data_dir=str(tmp_path))


def test_a_set_without_labels_is_refused(tmp_path):
    with (
        tfds.testing.mock_data(num_examples=3),
        pytest.raises(ValueError, match="image classification set of TFDS"),
    ):
        load_dataset("coco/2017", "train", 2, data_dir=str(tmp_path))


def test_some_classes_of_a_set(tmp_path):
    with tfds.testing.mock_data(num_examples=60):
        images, labels = _arrays(load_dataset("cifar10", "train", 7, data_dir=str(tmp_path)))
        source = DataSource("cifar10[1::3]", "train", str(tmp_path))
        some, anew = _arrays(source.batches(7))
        names = class_names("cifar10", str(tmp_path))
        assert class_names("cifar10[1::3]", str(tmp_path)) == tuple(names[i] for i in (1, 4, 7))
        shuffled = _arrays(source.batches(5, seed=3))[1]
    kept = np.isin(labels, (1, 4, 7))
    assert 5 < kept.sum() < 60
    assert source.num_examples == kept.sum()
    np.testing.assert_array_equal(some, images[kept])
    np.testing.assert_array_equal(anew, [{1: 0, 4: 1, 7: 2}[label] for label in labels[kept]])
    assert len(shuffled) == 5 * (kept.sum() // 5)


def test_some_classes_of_a_set_of_photographs(tmp_path):
    rng = np.random.default_rng(0)
    pixels = [rng.integers(0, 255, (*rng.integers(8, 40, 2), 3), "uint8") for _ in range(60)]
    labels = rng.integers(0, 1000, 60) // 3
    decoded = []

    def as_data_source(self, split, decoders):
        image = self.info.features["image"]
        image.decode_example_np = lambda index: decoded.append(index) or pixels[index]
        return [{"image": index, "label": label} for index, label in enumerate(labels)]

    with tfds.testing.mock_data(as_data_source_fn=as_data_source):
        whole = DataSource("imagenet2012", "train", str(tmp_path)).batches(60, 32)
        images, found = _arrays(whole)
        np.testing.assert_array_equal(found, labels)
        decoded.clear()
        source = DataSource("imagenet2012[::10]", "train", str(tmp_path))
        some, anew = _arrays(source.batches(60, 32))
        assert len(class_names("imagenet2012[::10]", str(tmp_path))) == 100
    kept = labels % 10 == 0
    assert kept.any()
    assert source.num_examples == kept.sum()
    np.testing.assert_array_equal(some, images[kept])
    np.testing.assert_array_equal(anew, labels[kept] // 10)
    assert sorted(decoded) == np.flatnonzero(kept).tolist()  # those left out are not decoded


@pytest.mark.parametrize("name", ["cifar10[", "cifar10[3]", "cifar10[a:]", "cifar10[:2]x"])
def test_bad_slices_of_classes_are_refused(name, tmp_path):
    with pytest.raises(ValueError, match="a slice of the labels behind it"):
        load_dataset(name, "train", data_dir=str(tmp_path))


def test_slices_without_images_are_refused(tmp_path):
    with tfds.testing.mock_data(num_examples=1):
        with pytest.raises(ValueError, match="at least one of the 10 classes of cifar10"):
            load_dataset("cifar10[10:]", "train", data_dir=str(tmp_path))
        label = _arrays(load_dataset("cifar10", "train", data_dir=str(tmp_path)))[1][0]
        with pytest.raises(ValueError, match="'train' of cifar10 holds no image of slice"):
            load_dataset(f"cifar10[{label + 1}:]", "train", data_dir=str(tmp_path))


def test_random_areas_are_parts_of_the_image(tmp_path):
    side, number = 32, 200
    grid = np.mgrid[:side, :side].transpose(1, 2, 0) * 7
    ramps = np.concatenate([grid, grid[..., :1]], -1).astype("uint8")  # row and column of a pixel

    def as_data_source(self, split, decoders):
        self.info.features["image"].decode_example_np = lambda image: image
        return [{"image": ramps, "label": 0}] * number

    with tfds.testing.mock_data(as_data_source_fn=as_data_source):
        batches = load_dataset("cifar10", "train", number, crop="area", data_dir=str(tmp_path))
        images, _ = _arrays(batches)
        small, _ = _arrays(
            load_dataset("cifar10", "train", 9, 8, crop="area", data_dir=str(tmp_path))
        )
    assert images.shape == (number, side, side, 3)
    assert small.shape == (number, 8, 8, 3)
    ends = images[..., :2].max((1, 2)), images[..., :2].min((1, 2))
    heights, widths = ((ends[0] - ends[1]) / 7 + 1).T
    np.testing.assert_allclose(heights, heights.round(), atol=1e-4)
    shares = heights * widths / side**2
    assert shares.min() > 0.06  # 0.08 before the sides are rounded
    assert shares.min() < 0.2
    assert shares.max() > 0.9
    # Sides of 8 pixels and more, each rounded.
    assert (widths < (heights + 1) * 4 / 3 + 1).all()
    assert (heights < (widths + 1) * 4 / 3 + 1).all()
    assert len({tuple(corner) for corner in ends[1].round()}) > 50


def test_bad_arguments():
    with pytest.raises(ValueError, match="`crop` must be an integer from 0"):
        load_dataset("sample", "test", crop=-1)
    with pytest.raises(ValueError, match="`batch_size` must be a positive integer"):
        load_dataset("sample", "test", batch_size=0)


def test_the_same_seed_and_epoch_give_the_same_batches():
    source = DataSource("sample", "test")

    def draw(seed, epoch):
        return _arrays(source.batches(100, flip=True, crop=4, seed=seed, epoch=epoch))

    images, labels = draw(0, 0)
    again = draw(0, 0)
    np.testing.assert_array_equal(images, again[0])
    np.testing.assert_array_equal(labels, again[1])
    for seed, epoch in ((0, 1), (1, 0)):
        assert (draw(seed, epoch)[1] != labels).any()


def test_without_a_seed_the_order_is_kept_and_no_image_is_lost():
    images, labels = load_sample()
    found = _arrays(load_dataset("sample", "test", batch_size=300))
    np.testing.assert_array_equal(found[0], images.astype("float32"))
    np.testing.assert_array_equal(found[1], labels)
    assert len(_arrays(load_dataset("sample", "test", batch_size=300, seed=0))[0]) == 900


def test_augmentations_do_what_they_say():
    images = load_sample()[0].astype("float32")
    flipped, _ = _arrays(load_dataset("sample", "test", 1000, flip=True))
    same = (flipped == images).all((1, 2, 3))
    mirrored = (flipped == images[:, :, ::-1]).all((1, 2, 3))
    assert (same | mirrored).all()
    assert 400 < same.sum() < 600
    cropped, _ = _arrays(load_dataset("sample", "test", 1000, crop=4))
    padded = np.pad(images, [(0, 0), (4, 4), (4, 4), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded[:20, ..., 0], (28, 28), axis=(1, 2))
    hits = (windows == cropped[:20, None, None, ..., 0]).all((-1, -2))
    assert hits.reshape(20, -1).any(1).all()
    assert (cropped != images).any((1, 2, 3)).mean() > 0.9


def test_sizes_change_without_a_shift():
    small, _ = _arrays(load_dataset("sample", "test", 1000, image_size=14))
    assert small.shape == (1000, 14, 14, 1)
    images = load_sample()[0].astype("float32")
    assert small.mean() == pytest.approx(images.mean(), rel=0.01)
    np.testing.assert_allclose(small.mean(0).argmax() // 14, images.mean(0).argmax() // 56, atol=1)


def test_the_sample_is_balanced():
    images, labels = load_sample()
    assert images.dtype == "uint8"
    np.testing.assert_array_equal(np.bincount(labels), [100] * 10)
    assert len({image.tobytes() for image in images}) == 1000


# Sets of every kind

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 5, 5, 3), "uint8")
DEEP = np.random.default_rng(1).integers(0, 65536, (6, 5, 5, 1), "uint16")
SHADES = np.random.default_rng(2).random((6, 5, 5, 1), "float32")
F = tfds.features
LABEL = F.ClassLabel(names=["c", "a", "b"])
LABELS = [0, 1, 2, 0, 1, 2]


def _set(folder, features, examples, supervised=None):
    """A real TFDS set of two examples' columns, written to a folder; returns its name."""

    class Tiny(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")
        name = "tiny"

        def _info(self):
            return self.dataset_info_from_configs(
                features=F.FeaturesDict(features), supervised_keys=supervised
            )

        def _split_generators(self, manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for i in range(len(next(iter(examples.values())))):
                yield i, {key: column[i] for key, column in examples.items()}

    Tiny(data_dir=str(folder)).download_and_prepare()
    return Tiny


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Writes a set and gives its `DataSource` arguments; TFDS finds it by the name `tiny`."""

    def make(features, examples, supervised=None):
        kind = _set(tmp_path, features, examples, supervised)
        monkeypatch.setattr(tfds, "builder", lambda name, data_dir: kind(data_dir=data_dir))
        return {"name": "tiny", "split": "train", "data_dir": tmp_path}

    return make


@pytest.mark.slow
@pytest.mark.parametrize(
    ("features", "supervised"),
    [
        ({"image": F.Image(shape=(5, 5, 3)), "label": LABEL}, None),
        ({"image": F.Image(shape=(5, 5, 3)), "label": LABEL}, ("image", "label")),
        ({"label": LABEL, "image": F.Image(shape=(5, 5, 3))}, ("label", "image")),
        ({"picture": F.Image(shape=(5, 5, 3)), "kind": LABEL}, ("picture", "kind")),
        ({"picture": F.Image(shape=(5, 5, 3)), "kind": LABEL}, ("kind", "picture")),
        ({"picture": F.Image(shape=(5, 5, 3)), "label": LABEL, "text": F.Text()},
         ("picture", "text")),
        ({"image": F.Image(shape=(5, 5, 3)), "label": LABEL, "other": F.Text()},
         ("image", "other")),
        ({"image": F.Tensor(shape=(5, 5, 3), dtype=np.uint8), "label": LABEL}, None),
        ({"image": F.Image(shape=(5, 5, 3)), "label": F.Scalar(np.uint8)}, None),
    ],
)  # fmt: skip
def test_image_and_label_are_found_whatever_they_are_called(features, supervised, tiny):
    columns = {"image": PIXELS, "picture": PIXELS, "label": LABELS, "kind": LABELS,
               "text": ["a"] * 6, "other": ["b"] * 6}  # fmt: skip
    examples = {key: columns[key] for key in features}
    arguments = tiny(features, examples, supervised)
    source = DataSource(**arguments)
    images, labels = _arrays(source.batches(4))
    order = [next(i for i, p in enumerate(PIXELS) if (p == image).all()) for image in images]
    assert sorted(order) == list(range(6))
    np.testing.assert_array_equal(labels, np.asarray(LABELS)[order])
    assert labels.dtype == "int64"
    assert source.image_shape == (5, 5, 3)
    if LABEL in features.values():
        assert class_names("tiny", arguments["data_dir"]) == ("c", "a", "b")
        some = DataSource("tiny[1:]", "train", arguments["data_dir"])
        chosen = _arrays(some.batches(4))
        np.testing.assert_array_equal(chosen[0], images[labels > 0])
        np.testing.assert_array_equal(chosen[1], labels[labels > 0] - 1)
        assert class_names("tiny[1:]", arguments["data_dir"]) == ("a", "b")
    else:
        with pytest.raises(ValueError, match="a set that names its classes"):
            class_names("tiny", arguments["data_dir"])
        with pytest.raises(ValueError, match="does not say how many classes"):
            DataSource("tiny[1:]", "train", arguments["data_dir"]).batches(4)


@pytest.mark.parametrize("size", [None, 5, 3])
@pytest.mark.parametrize("chosen", ["", "[:2]"])
def test_images_in_16_bits_are_brought_to_0_255(size, chosen, tiny):
    features = {"image": F.Image(shape=(5, 5, 1), dtype=np.uint16), "label": LABEL}
    arguments = tiny(features, {"image": DEEP, "label": LABELS})
    source = DataSource(f"tiny{chosen}", "train", arguments["data_dir"])
    images, labels = _arrays(source.batches(4, image_size=size))
    assert images.dtype == "float32"
    assert 200 < images.max() <= 255 or size == 3
    assert images.max() > 100
    if size != 3:
        wanted = {(image / 257).astype("float32").tobytes() for image in DEEP}
        np.testing.assert_allclose(
            sorted(image.mean() for image in images),
            sorted(image.mean() / 257 for image, label in zip(DEEP, LABELS, strict=True)
                   if not chosen or label < 2),
            rtol=1e-6,
        )  # fmt: skip
        assert len(wanted) == 6
    assert len(labels) == (4 if chosen else 6)


@pytest.mark.parametrize(
    ("features", "examples", "message"),
    [
        ({"image": F.Image(shape=(5, 5, 1), dtype=np.float32), "label": LABEL},
         {"image": SHADES, "label": LABELS}, "images of image are float32, whose range is not"),
        ({"image": F.Tensor(shape=(5, 5, 1), dtype=np.float64), "label": LABEL},
         {"image": SHADES.astype("float64"), "label": LABELS}, "are float64, whose range"),
        ({"image": F.Tensor(shape=(5, 5, 3), dtype=np.int32), "label": LABEL},
         {"image": PIXELS.astype("int32"), "label": LABELS}, "are int32, whose range"),
        ({"image": F.Image(shape=(5, 5, 3)), "label": F.Text()},
         {"image": PIXELS, "label": list("abcabc")}, "Feature label is a text"),
        ({"image": F.Image(shape=(5, 5, 3)), "label": F.Sequence(LABEL)},
         {"image": PIXELS, "label": [[0, 1]] * 6}, "Feature label is a sequence of labels"),
        ({"image": F.Image(shape=(5, 5, 3)), "label": F.Tensor(shape=(2,), dtype=np.int64)},
         {"image": PIXELS, "label": np.zeros((6, 2), "int64")}, "is no integer label"),
        ({"image": F.Image(shape=(5, 5, 3)), "label": F.Scalar(np.float32)},
         {"image": PIXELS, "label": np.zeros(6, "float32")}, "is no integer label"),
        ({"image": F.Image(shape=(None, None, None)), "label": LABEL},
         {"image": PIXELS, "label": LABELS}, "do not say how many channels"),
        ({"image": F.Video(shape=(2, 5, 5, 3)), "label": LABEL},
         None, "Feature image is no image of rank 3"),
        ({"scan": F.Image(shape=(5, 5, 3)), "label": LABEL},
         {"scan": PIXELS, "label": LABELS}, "Received: 'tiny' with .*scan .Image, uint8"),
    ],
)  # fmt: skip
def test_sets_that_cannot_be_used_are_refused(features, examples, message, tiny):
    examples = examples or {"image": np.stack([PIXELS[:2]] * 6), "label": LABELS}
    arguments = tiny(features, examples)
    for call in (lambda: load_dataset(**arguments, image_size=5),
                 lambda: class_names("tiny", arguments["data_dir"])):  # fmt: skip
        with pytest.raises(ValueError, match="must be an image classification set") as error:
            call()
        error.match(message)


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("labels", [[-1] * 6, [0, 1, -1, -1, 0, 1]])
def test_images_without_labels_are_refused(labels, in_memory, tiny, monkeypatch):
    features = {"image": F.Image(shape=(5, 5, 3)), "label": LABEL}
    arguments = tiny(features, {"image": PIXELS, "label": labels})
    if not in_memory:
        monkeypatch.setattr(sources, "IN_MEMORY_BYTES", 1)
    if in_memory or labels[0] < 0:
        count = sum(label < 0 for label in labels) if in_memory else 1
        with pytest.raises(ValueError, match=f"`split` must hold labelled .* with {count} label"):
            load_dataset(**arguments)
    else:
        with pytest.raises(ValueError, match="An image of 'train' of tiny has no label"):
            _arrays(load_dataset(**arguments))
    if max(labels) > 0:  # a slice of the labels leaves them out
        some = DataSource("tiny[:1]", "train", arguments["data_dir"])
        assert some.num_examples == 2
        assert (_arrays(some.batches(4))[1] == 0).all()


needs_package = pytest.mark.skipif(
    not DEBIAN_FOLDER.is_dir(), reason="Debian's dataset-fashion-mnist is not here"
)


@needs_package
def test_fashion_mnist_from_debians_package(tmp_path):
    source = DataSource("fashion_mnist", "test", str(tmp_path))
    assert source.num_examples == 10_000
    images, labels = _arrays(source.batches(1000))
    np.testing.assert_array_equal(np.bincount(labels), [1000] * 10)
    test_set = {image.tobytes() for image in images.astype("uint8")}
    assert all(image.tobytes() in test_set for image in load_sample()[0])

"""The TFDS pipelines, on generated and on real data."""

import numpy as np
import pytest

from keras_pdenets.data import DataSource, class_names, fashion_mnist, load_dataset, load_sample

tfds = pytest.importorskip("tensorflow_datasets")


def _arrays(batches):
    images, labels = zip(*((x.numpy(), y.numpy()) for x, y in batches), strict=True)
    return np.concatenate(images), np.concatenate(labels)


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [
        ("fashion_mnist", (28, 28, 1), 10),
        ("mnist", (28, 28, 1), 10),
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
    tf = pytest.importorskip("tensorflow")
    rng = np.random.default_rng(0)
    pixels = [rng.integers(0, 255, (*rng.integers(8, 40, 2), 3), "uint8") for _ in range(60)]
    files = [tf.io.encode_png(image).numpy() for image in pixels]
    examples = {"image": files, "label": rng.integers(0, 1000, 60) // 3, "file_name": [""] * 60}
    decoded = []

    def as_dataset(self, split, decoders=None, **kwargs):
        decoded.append(not decoders)
        files = tf.data.Dataset.from_tensor_slices(examples)
        return files.map(lambda file: self.info.features.decode_example(file, decoders=decoders))

    with tfds.testing.mock_data(as_dataset_fn=as_dataset):
        whole = DataSource("imagenet2012", "train", str(tmp_path)).batches(60, 32)
        images, labels = _arrays(whole)
        source = DataSource("imagenet2012[::10]", "train", str(tmp_path))
        some, anew = _arrays(source.batches(60, 32))
        assert len(class_names("imagenet2012[::10]", str(tmp_path))) == 100
    kept = labels % 10 == 0
    assert kept.any()
    assert source.num_examples == kept.sum()
    np.testing.assert_array_equal(some, images[kept])
    np.testing.assert_array_equal(anew, labels[kept] // 10)
    assert decoded == [True, False]  # images that are left out are not decoded


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

    def as_dataset(self, split, **kwargs):
        tf = pytest.importorskip("tensorflow")
        data = {"image": np.stack([ramps] * number), "label": np.zeros(number, "int64")}
        return tf.data.Dataset.from_tensor_slices(data)

    with tfds.testing.mock_data(as_dataset_fn=as_dataset):
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
    with pytest.raises(ValueError, match="`crop` must be an integer >= 0"):
        load_dataset("sample", "test", crop=-1)
    with pytest.raises(ValueError, match="`batch_size` must be an integer >= 1"):
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


needs_package = pytest.mark.skipif(
    not fashion_mnist.DEBIAN_FOLDER.is_dir(), reason="Debian's dataset-fashion-mnist is not here"
)


@needs_package
def test_fashion_mnist_from_debians_package(tmp_path):
    source = DataSource("fashion_mnist", "test", str(tmp_path))
    assert source.num_examples == 10_000
    images, labels = _arrays(source.batches(1000))
    np.testing.assert_array_equal(np.bincount(labels), [1000] * 10)
    test_set = {image.tobytes() for image in images.astype("uint8")}
    assert all(image.tobytes() in test_set for image in load_sample()[0])


@needs_package
def test_altered_archives_are_refused(tmp_path):
    for path in fashion_mnist.DEBIAN_FOLDER.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    bad = tmp_path / "t10k-labels-idx1-ubyte.gz"
    bad.write_bytes(bad.read_bytes()[:-20] + b"x" * 20)
    with pytest.raises(ValueError, match=r"t10k-labels-idx1-ubyte.gz: SHA-256 differs"):
        fashion_mnist.lay_originals(tmp_path / "out", tmp_path)
    assert not (tmp_path / "out").exists()

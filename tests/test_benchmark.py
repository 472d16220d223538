"""Benchmarks: what is written, what runs in turn, what is said when it cannot."""

import csv

import keras
import numpy as np
import pytest
from conftest import BACKEND, build

from keras_pdenets import benchmark, cli
from keras_pdenets.benchmark import Case, Setting, devices, run_benchmark, runner
from keras_pdenets.benchmark.results import Timing, table, write_results
from keras_pdenets.benchmark.suites import SUITES, suite_words
from keras_pdenets.transforms import count_operations, fold

SMALL = {"size": 16, "channels": 1, "classes": 10, "batch": 2, "rounds": 2, "warmup": 1}


@pytest.mark.slow
@pytest.mark.once
def test_cases_run_in_turn_and_the_report_is_whole(tmp_path, capsys):
    words = ["PDEPreActResNet20+fold@torch", "PreActResNet20@torch"]
    sizes = [f"--{name}={value}" for name, value in SMALL.items()]
    assert cli.main(["dev", "benchmark", *words, *sizes, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    for word in words:
        assert f"`{word}`" in printed
        assert f"`{word}`" in report
    assert (tmp_path / "times.png").read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader((tmp_path / "times.csv").read_text().splitlines()))
    assert [row["case"] for row in rows] == [w for w in words for _ in range(2)]
    assert all(float(row["seconds"]) > 0 for row in rows)


@pytest.mark.slow
@pytest.mark.once
def test_a_batch_too_large_names_the_largest_that_fits(monkeypatch):
    monkeypatch.setattr(runner, "_largest_batch", lambda *_: 12)
    setting = Setting(**{**SMALL, "size": 64, "batch": 4096})
    with pytest.raises(RuntimeError, match=r"A batch of 4096 does not fit .* that did is 12"):
        run_benchmark(["PreActResNet20@torch"], setting, memory_limit=2**30, verbose=0)


def test_the_largest_batch_is_looked_for_by_halves(monkeypatch):
    class Worker:
        def __init__(self, case, setting, limit):
            self.batch = setting.batch

        def answer(self):
            if self.batch > 20:
                raise runner.OutOfMemory("no memory")

        def close(self):
            pass

    monkeypatch.setattr(runner, "_Worker", Worker)
    case = Case.parse("ResNet18@torch")
    assert runner._largest_batch(case, Setting(batch=100), None) == 12
    assert runner._largest_batch(case, Setting(batch=1), None) is None


@pytest.mark.slow
@pytest.mark.once
def test_a_device_that_is_not_there():
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(RuntimeError, match=r"torch has no GPU here. Received: device='gpu:3'"):
        run_benchmark(["PreActResNet20@torch"], Setting(device="gpu:3", **SMALL), verbose=0)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("ResNet50", "must read"),
        ("ResNet51@jax", "nearest are"),
        ("ResNet50+folded@jax", "nearest are fold"),
        ("ResNet50@mxnet", "runtime"),
        ("timm:resnet50@jax", "must be 'torch'"),
        ("timm:resnet50+fold@torch", "fold for nets of own, keras at .*: elsewhere it does"),
        ("ResNet50+channels_last@torch", "channels_last for nets of timm at torch"),
        ("keras:ResNet50+remat@torch", "remat for nets of own"),
        ("ResNet50+remat@onnxruntime", "remat for nets of own at tensorflow, jax, torch"),
        ("ResNet50+compile@jax", "compile for nets of .* at tensorflow, torch: elsewhere"),
        ("ResNet50+eager@torch", "eager for nets of .* at tensorflow, jax: elsewhere"),
        ("ResNet50+compile@openvino", "compile for nets of .* at tensorflow, torch: elsewhere"),
        ("ResNet50+compile+eager@tensorflow", "not repeat or combine compile with eager"),
        ("ResNet50+remat+fold@jax", "or remat with one of these"),
        ("ResNet50+remat+fold_keep@jax", "or remat with one of these"),
        ("ResNet50+fold+fold_keep@jax", "not .* fold with fold_keep"),
        ("ResNet50+fold+fold@jax", "must not repeat or combine"),
        ("VGG16+remat@torch", "must not name remat"),
    ],
)
def test_words_that_name_nothing_or_do_nothing(word, message):
    with pytest.raises(ValueError, match=message):
        Case.parse(word)


def test_what_folding_does_with_pairs():
    found = [Case.parse(f"ResNet50{w}@jax").folding for w in ("", "+fold", "+fold_keep")]
    assert found == [None, "measure", "keep"]


def test_settings_are_checked(monkeypatch):
    with pytest.raises(ValueError, match="`mode` must be one of inference, training"):
        Setting(mode="train")
    with pytest.raises(ValueError, match="`batch`"):
        Setting(batch=0)
    with pytest.raises(ValueError, match="`device` must be"):
        Setting(device="tpu")
    for word, setting, message in (
        ("ResNet50+fold@torch", {"mode": "training"}, "`mode` must be 'inference' for folded"),
        ("ResNet50+fold_keep@torch", {"mode": "training"}, "'inference' for folded"),
        ("ResNet50+remat@torch", {}, "`mode` must be 'training' for remat"),
        ("ResNet50@onnxruntime", {"device": "gpu"}, "`device` must be 'cpu' for .*exported"),
        ("ResNet50@litert", {"dtype": "mixed_float16"}, "`dtype` must be 'float32' for .*exported"),
    ):
        with pytest.raises(ValueError, match=message):
            run_benchmark([word], Setting(**setting))
    with pytest.raises(ValueError, match="at least one"):
        run_benchmark([])
    monkeypatch.setattr(runner.sys, "platform", "darwin")
    with pytest.raises(NotImplementedError, match=r"Linux only, .* Received: darwin"):
        run_benchmark(["ResNet50@torch"])


def test_the_cpu_is_the_only_device_where_it_is_asked_for():
    hidden = {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu", "KERAS_TORCH_DEVICE": "cpu"}
    assert devices.environment("cpu") == hidden
    shared = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    assert devices.environment("gpu:3") == {"CUDA_VISIBLE_DEVICES": "3", **shared}
    assert devices.environment("gpu") == shared


def test_every_word_of_a_suite_is_a_case():
    for name, found in SUITES.items():
        for word in found.words:
            assert Case.parse(word.format(backend="jax"))
        words = suite_words(name)
        assert len(words) > 2
        assert all(str(Case.parse(word)) == word for word in words)
    assert suite_words("folded", BACKEND)[1] == f"PDEResNet50+fold@{BACKEND}"


def test_the_suite_sets_the_mode(monkeypatch, capsys):
    def run(words, setting):
        modes.append(setting.mode)
        return [Timing("a@torch", 1, None, (0.1,), (1.0,), None)]

    modes = []
    monkeypatch.setattr(benchmark, "run_benchmark", run)
    for arguments in (["--suite", "training"], ["--suite", "folded"], ["ResNet18@torch"],
                      ["--suite", "training50", "--mode", "training"]):  # fmt: skip
        assert cli.main(["dev", "benchmark", *arguments]) == 0
    assert modes == ["training", "inference", "inference", "training"]
    for arguments, message in (
        (["--suite", "training", "--mode", "inference"], "`--mode` must be training for the suite"),
        (["--suite", "peers", "--backend", "jax"], "`backend` must be None for the suite peers"),
        (["ResNet18@torch", "--backend", "jax"], "`--backend` is for a --suite"),
    ):
        assert cli.main(["dev", "benchmark", *arguments]) == 1
        assert message in capsys.readouterr().err
    for arguments in (["--suite", "trainings"], ["--suite", "folded", "--backend", "mxnet"]):
        with pytest.raises(SystemExit, match="2"):
            cli.main(["dev", "benchmark", *arguments])
        assert "(choose from" in capsys.readouterr().err
    with pytest.raises(ValueError, match="nearest are training"):
        suite_words("trainings")
    with pytest.raises(ValueError, match="`backend` must be one of"):
        suite_words("folded", "mxnet")
    assert len(modes) == 4


def test_the_table_has_medians_and_quartiles():
    result = Timing("a@torch", 1000, 2_000_000_000, (0.1, 0.2, 0.3), (1.0, 2.0, 3.0), 2**20)
    line = table([result], batch=4).splitlines()[-1]
    assert (
        line == "| `a@torch` | 1,000 | 2.00 | 200.0 (150.0-250.0) | 20.0 | 2.00 (1.50-2.50) | 1 |"
    )


def test_a_report_names_the_gpu(tmp_path):
    for gpu, said in ((None, "device gpu; load"), ("GPU X", "device gpu (GPU X); load")):
        result = Timing("a@torch", 1, None, (0.1,), (1.0,), None, gpu)
        write_results([result], Setting(device="gpu"), tmp_path, "command")
        assert said in (tmp_path / "report.md").read_text(encoding="utf-8")


@pytest.mark.once
@pytest.mark.slow
def test_operations_of_nets_are_those_counted_by_hand():
    net = build("pde_preact_resnet20", 8, 1, config={"num_blocks": 1, "filters": (4, 8, 8)})
    folded, _ = fold(net)
    convolutions = 2 * 9 * (64 * (4 + 16 + 16) + 16 * 2 * 64 + 4 * 2 * 64)
    convolutions += 2 * (16 * 4 * 8 + 4 * 8 * 8) + 2 * 8 * 10
    found = count_operations(folded)
    # What is no product: a few operations for each number of the features.
    features = 64 * 4 + 16 * 8 + 4 * 8
    assert convolutions < found < convolutions + 12 * features
    assert count_operations(build("resnet18", None, config={"filters": (4,) * 4})) is None
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    outer = keras.Sequential([keras.Input((4,)), inner, keras.layers.Dense(2)])
    assert count_operations(outer) == (24 + 3) + (12 + 2)


def test_products_of_two_tensors_are_counted_or_refused():
    ops, layers = keras.ops, keras.layers
    x, y = keras.Input((3, 5)), keras.Input((5, 7))
    for output, expected in (
        (ops.matmul(x, y), 2 * 3 * 7 * 5),
        (ops.matmul(np.ones((4, 3), "float32"), x), 2 * 4 * 5 * 3),
        (ops.dot(x, np.ones((5, 2), "float32")), 2 * 3 * 2 * 5),
        (layers.Dot((2, 1))([x, y]), 2 * 3 * 7 * 5),
        (layers.Dot(2)([x, ops.transpose(y, (0, 2, 1))]), 2 * 3 * 7 * 5),
        (ops.matmul(x, y) + 1, 2 * 3 * 7 * 5 + 3 * 7),
        (ops.einsum("bmk,bkn->bmn", x, y), None),
        (ops.inner(x, np.ones((7, 5), "float32")), None),
        (layers.Attention()([x, x]), None),
        (ops.inv(ops.matmul(x, ops.transpose(x, (0, 2, 1)))), None),
    ):
        assert count_operations(keras.Model([x, y], output)) == expected
    inputs = keras.Input((6, 6, 2))
    conv = keras.ops.conv(inputs, np.ones((3, 3, 2, 4), "float32"))
    assert count_operations(keras.Model(inputs, conv)) is None
    flat = keras.Input((None, 5))
    assert count_operations(keras.Model(flat, ops.matmul(flat, np.ones((5, 2), "float32")))) is None

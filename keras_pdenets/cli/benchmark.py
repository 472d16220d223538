"""The command `benchmark`."""

import contextlib
import sys

from keras_pdenets.cli.arguments import MODES, SUITES, add_command, count, count_or_none, path
from keras_pdenets.utils.backends import BACKENDS


def add_commands(commands):
    """Add the command to the parser."""
    benchmark = add_command(
        commands, "benchmark", _benchmark,
        "keras-pdenets dev benchmark ResNet18+fold@torch PDEResNet18+fold@torch --batch 2",
        help="time nets and their peers in turn, in one run",
        description="A case reads [keras:|timm:]NAME[+OPTION...]@RUNTIME, such as "
        "PDEResNet50+fold@jax, keras:ResNet50@tensorflow, timm:resnet50+channels_last+compile@torch"
        " or pde_resnet20_fashion_mnist+fold@openvino. The first one is the reference.",
    )  # fmt: skip
    benchmark.add_argument("cases", nargs="*", metavar="CASE")
    benchmark.add_argument("--suite", choices=SUITES, help="a list of cases and their mode")
    benchmark.add_argument(
        "--backend", choices=BACKENDS, help="backend of the suite (default: all installed)"
    )
    benchmark.add_argument("--mode", choices=MODES, help="default: the suite's, or inference")
    for name, default, text in (
        ("size", 224, "side of the images in pixels"),
        ("channels", 3, "channels of the images"),
        ("classes", 1000, "number of classes"),
        ("batch", 8, "images in a step"),
        ("rounds", 15, "steps of each case that count"),
        ("warmup", 2, "steps before those"),
        ("seed", 0, "seed of the images"),
    ):
        kind = count_or_none if name in ("warmup", "seed") else count
        benchmark.add_argument(f"--{name}", type=kind, default=default, help=f"{text} ({default})")
    benchmark.add_argument("--device", default="cpu", help="cpu (default), gpu or gpu:N")
    benchmark.add_argument("--dtype", default="float32", help="float32, mixed_bfloat16 ...")
    benchmark.add_argument("--out", type=path, help="folder of report.md, times.csv and times.png")


def _benchmark(options):
    from keras_pdenets.benchmark import Setting, run_benchmark
    from keras_pdenets.benchmark.results import table, write_results
    from keras_pdenets.plots import plot_benchmark
    from keras_pdenets.utils.locking import locked

    words, mode = _cases(options)
    names = ("size", "channels", "classes", "batch", "rounds", "warmup", "device", "dtype", "seed")
    setting = Setting(mode=mode, **{name: getattr(options, name) for name in names})
    with locked(options.out) if options.out else contextlib.nullcontext():
        results = run_benchmark(words, setting)
        print(table(results, setting.batch))
        if options.out:
            command = " ".join(["keras-pdenets", *sys.argv[1:]])
            write_results(results, setting, options.out, command)
            plot_benchmark(results, options.out / "times.png")
            print(f"Written: {options.out}")
    return 0


def _cases(options):
    """The words, those of the suite included, and the mode."""
    from keras_pdenets.benchmark.suites import SUITES, suite_words

    words = list(options.cases)
    if not options.suite:
        if options.backend:
            raise ValueError("`--backend` is for a --suite: a case names its own.")
        return words, options.mode or "inference"
    words += suite_words(options.suite, options.backend)
    mode = SUITES[options.suite].mode
    if options.mode not in (None, mode):
        raise ValueError(f"`--mode` must be {mode} for the suite. Received: {options.mode}")
    return words, mode

"""The commands that publish checkpoints, verify and time them."""

import datetime
import os

from keras_pdenets.cli.arguments import add_command, add_preset, count, positive
from keras_pdenets.cli.waiting import waiting


def add_commands(commands):
    """Add the commands to the parser."""
    verify = add_command(
        commands, "verify", _verify, "keras-pdenets verify pde_resnet20_fashion_mnist",
        help="compare weights, and what this machine makes of them, with the published",
    )  # fmt: skip
    add_preset(verify, "weights", help="a preset, hf://organisation/repo[@revision] or a file")
    verify.add_argument("--tolerance", type=positive, help="largest difference of outputs (1e-4)")

    publish = add_command(
        commands, "publish", _publish, "keras-pdenets publish all --to my-organisation",
        help="put a preset on the Hub", data=True,
    )  # fmt: skip
    add_preset(publish, "preset", help="name of a preset, or all")
    publish.add_argument(
        "--to", required=True, metavar="ORG[/REPO]",
        help="the repository (default of REPO: the preset's name)",
    )  # fmt: skip
    publish.add_argument("--yes", action="store_true", help="really publish; else a dry run")
    publish.add_argument("--tag", help="tag of the commit (default: the version, such as v0.1.0)")
    what = publish.add_mutually_exclusive_group()
    what.add_argument("--sample", action="store_true", default=None,
                      help="measure on the bundled sample (default, if the card has its number)",
                      )  # fmt: skip
    what.add_argument("--full", dest="sample", action="store_false",
                      help="measure on the whole test split")  # fmt: skip

    refresh = add_command(
        commands, "refresh", _refresh, "keras-pdenets dev refresh pde_resnet20_fashion_mnist",
        help="write golden file and card of a preset again",
    )  # fmt: skip
    add_preset(refresh, "preset", help="name of a preset, or all")

    speed = add_command(
        commands, "speed", _speed, "keras-pdenets dev speed pde_resnet20_fashion_mnist",
        help="time a folded preset on the CPU, for its card",
    )  # fmt: skip
    add_preset(speed, "preset", help="name of a preset, or all")
    speed.add_argument("--batch", type=count, default=64, help="images in a step (64)")
    speed.add_argument("--rounds", type=count, default=15, help="steps of each backend (15)")


def _names(options):
    from keras_pdenets.presets import list_presets

    return list_presets() if options.preset == "all" else [options.preset]


def _publish(options):
    from keras_pdenets.plots import plot_predictions
    from keras_pdenets.presets import get_preset
    from keras_pdenets.publishing.publish import publish

    if options.preset == "all" and "/" in options.to:
        raise ValueError(f"`--to` must be an organisation with all. Received: {options.to}")
    failed = []
    for name in _names(options):
        preset = get_preset(name)
        repo = options.to if "/" in options.to else f"{options.to}/{name}"
        try:
            with waiting(f"Preparing {name}: measuring, comparing, folding"):
                done = publish(
                    preset, repo, options.yes, options.tag, options.sample, options.data_dir,
                    plot_predictions,
                )  # fmt: skip
        except (RuntimeError, OSError, ValueError, ImportError) as error:
            # One that fails does not keep the others away.
            if options.preset != "all":
                raise
            failed.append(f"{name}: {error}")
        else:
            print(done, flush=True)
    if failed:
        raise RuntimeError(f"{len(failed)} not published. " + " ".join(failed))
    return 0


def _verify(options):
    from keras_pdenets.analysis.verification import verify

    with waiting(f"Comparing weights and outputs of {options.weights}"):
        report = verify(options.weights, tolerance=options.tolerance)
    print(report)
    return 0 if report.agrees else 1


def _refresh(options):
    from keras_pdenets.publishing.release import refresh

    for name in _names(options):
        with waiting(f"Computing the golden outputs of {name}"):
            preset = refresh(name)
        print(f"{name}: {preset.golden}")
    return 0


def _speed(options):
    from keras_pdenets.benchmark import Setting, run_benchmark
    from keras_pdenets.benchmark.case import BACKENDS
    from keras_pdenets.benchmark.results import where
    from keras_pdenets.hub.source import CHECKOUT_WEIGHTS
    from keras_pdenets.presets import get_preset
    from keras_pdenets.publishing.release import refresh
    from keras_pdenets.publishing.speed import SPEED, Speed
    from keras_pdenets.utils.extras import installed

    backends = [name for name in BACKENDS if installed(name)]
    threads = os.environ.get("OMP_NUM_THREADS")
    limit = f"OMP_NUM_THREADS={threads}, " if threads else ""
    for name in _names(options):
        checkpoint = get_preset(name).checkpoint
        size, _, channels = checkpoint.input_shape
        setting = Setting(size=size, channels=channels, classes=checkpoint.classes,
                          batch=options.batch, rounds=options.rounds)  # fmt: skip
        results = run_benchmark([f"{name}+fold@{backend}" for backend in backends], setting)
        rates = {
            backend: round(options.batch / result.quartiles(result.seconds)[1], 1)
            for backend, result in zip(backends, results, strict=True)
        }
        place, today = limit + where(setting.device), datetime.date.today().isoformat()
        speed = Speed(rates, options.batch, options.rounds, place, today)
        speed.write(CHECKOUT_WEIGHTS / name / SPEED)
        refresh(name, CHECKOUT_WEIGHTS)
        print(f"{name}: {rates}", flush=True)
    return 0

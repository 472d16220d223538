"""The command `keras-pdenets`."""

import argparse
import os
import sys
from pathlib import Path

import keras_pdenets
from keras_pdenets.cli import (
    benchmark,
    convert,
    demo,
    depth,
    experiments,
    export,
    finetune,
    publish,
)
from keras_pdenets.cli.arguments import (
    CALLBACKS,
    Commands,
    add_command,
    add_preset,
    check_reads,
    count,
    path,
    positive,
    wrap,
)
from keras_pdenets.cli.waiting import waited, waiting
from keras_pdenets.utils.backends import HOW_TO_CHOOSE, missing_backend
from keras_pdenets.utils.text import printable

_LONGEST_MESSAGE = 4000


def main(arguments=None):
    """Run the command; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        # Names of classes are of any language; a terminal may be of one.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    parser = make_parser()
    if "_ARGCOMPLETE" in os.environ:  # the shell asks what could come next
        import argcomplete

        argcomplete.autocomplete(parser)
    options = parser.parse_args(arguments)
    try:
        check_reads(options)
        with waiting("Loading Keras"):
            keras_pdenets._register()
        return options.run(options)
    except KeyboardInterrupt:
        print("\nStopped. The same command resumes from the last whole epoch.", file=sys.stderr)
        return 130
    except (ValueError, RuntimeError, OSError, ImportError) as error:
        if options.traceback:
            raise
        # Whatever a file has put into it.
        print(f"keras-pdenets: {printable(str(error), _LONGEST_MESSAGE)}", file=sys.stderr)
        return 1


def make_parser():
    """The parser of the command; it needs no Keras."""
    missing = missing_backend()
    parser = argparse.ArgumentParser(
        prog="keras-pdenets",
        description="Train, evaluate, export and compare nets designed as PDEs.",
        epilog="\n\n".join(
            wrap(text)
            for text in (
                "`keras-pdenets COMMAND --help` explains a command and shows an example; "
                "`keras-pdenets dev --help` lists those for developing nets and this package.",
                HOW_TO_CHOOSE if missing is None else f"WARNING: {missing}",
            )
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, help="show the version and exit")
    parser.add_argument("--traceback", action="store_true", help="show where an error comes from")
    commands = Commands(parser)
    _add_training(commands)
    convert.add_commands(commands)
    depth.add_commands(commands)
    export.add_commands(commands)
    benchmark.add_commands(commands)
    publish.add_commands(commands)
    demo.add_commands(commands)
    experiments.add_commands(commands)
    _add_lists(commands)
    return parser


class _Version(argparse.Action):
    """Read from the package's metadata when it is asked for."""

    def __init__(self, option_strings, dest, help):
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser, *arguments, **keywords):
        print(f"keras-pdenets {keras_pdenets.__version__}")
        parser.exit()


def _add_training(commands):
    train = add_command(
        commands, "train", _train, "keras-pdenets train --preset pde_resnet20_fashion_mnist",
        help="train a preset by its recipe, or resume it", reads=("recipe",), data=True,
    )  # fmt: skip
    what = train.add_mutually_exclusive_group(required=True)
    add_preset(what, "--preset", help="name of a folder in weights/ with a recipe.json")
    what.add_argument("--recipe", type=path, help="a recipe file")
    train.add_argument("--out", type=path, help="folder of the run (default: runs/PRESET)")
    train.add_argument(
        "--limit-minutes", type=positive, help="stop before an epoch that ends later"
    )
    train.add_argument(
        "--devices",
        metavar="N|all|KIND:N",
        help="accelerators to train on, such as 2, all or gpu:2; cpu:2 parts the CPU, for tests",
    )

    train.add_argument(
        "--data", type=path, help="own images: a folder of folders, one for each class, or an .npz"
    )
    train.add_argument(
        "--skip-unreadable", action="store_true", help="leave out files of --data that are broken"
    )
    train.add_argument(
        "--callback", action="append", default=[], choices=CALLBACKS,
        help="also this callback of Keras; several times for several",
    )  # fmt: skip

    finetune.add_commands(commands)

    evaluate = add_command(
        commands, "evaluate", _evaluate,
        "keras-pdenets evaluate --preset pde_resnet20_fashion_mnist --sample",
        help="measure a preset on its test split", data=True,
    )  # fmt: skip
    add_preset(evaluate, "--preset", required=True, help="a name that `dev presets` lists")
    where = evaluate.add_mutually_exclusive_group()
    where.add_argument("--sample", action="store_true", help="on the bundled sample instead")
    where.add_argument(
        "--data", type=path,
        help="on own images instead: folders named after the classes, or an .npz",
    )  # fmt: skip
    evaluate.add_argument(
        "--skip-unreadable", action="store_true", help="leave out files of --data that are broken"
    )

    predict = add_command(
        commands, "predict", _predict, "keras-pdenets predict resnet20_fashion_mnist shoe.png",
        help="name what image files show",
    )  # fmt: skip
    add_preset(predict, "model", help="a preset, or a .keras file")
    predict.add_argument("images", nargs="+", type=path, help="image files")
    predict.add_argument("--top", type=count, default=3, help="classes to print for each (3)")

    pin = add_command(
        commands, "pin", _pin, 'keras-pdenets dev pin --run runs/my_net --hardware "NVIDIA H100"',
        help="make a preset of a finished run", reads=("run_folder",), data=True,
    )  # fmt: skip
    pin.add_argument("--run", dest="run_folder", type=path, required=True, help="folder of the run")
    pin.add_argument("--hardware", required=True, help="what it was trained on, for the card")
    pin.add_argument("--remark", default="", help="sentence about the training, for the card")


def _add_lists(commands):
    presets = add_command(
        commands,
        "presets",
        _presets,
        'keras-pdenets dev presets "pde*"',
        help="list the checkpoints",
    )
    presets.add_argument("pattern", nargs="?", help="those whose names match, such as pde*")
    add_command(
        commands, "models", _models, "keras-pdenets dev models",
        help="print the table of models, as Markdown",
    )  # fmt: skip


# The imports stand inside the functions: Keras takes seconds to load, `--help` should not.


def _train(options):
    from keras_pdenets.training import Recipe, train
    from keras_pdenets.training.callbacks.named import named_callbacks
    from keras_pdenets.training.recipe_files import recipe_file

    recipe = Recipe.from_file(options.recipe or recipe_file(options.preset))
    out = options.out or Path("runs") / recipe.preset
    history = train(
        recipe, out, options.limit_minutes, options.data_dir, devices=options.devices,
        data=options.data, callbacks=named_callbacks(options.callback, out),
        unreadable="skip" if options.skip_unreadable else "error",
    )  # fmt: skip
    if len(history) < recipe.epochs:
        print(f"{len(history)} of {recipe.epochs} epochs done; the same command resumes.")
    else:
        print(f"Done: {out / 'model.safetensors'}")
    return 0


def _evaluate(options):
    from keras_pdenets.hub.source import WeightsSource
    from keras_pdenets.presets import get_preset
    from keras_pdenets.training import evaluate

    preset = get_preset(options.preset)
    file = WeightsSource.of(preset).resolve()
    name, claimed = preset.dataset, "test_accuracy"
    if options.sample:
        name, claimed = "sample", "sample_accuracy"
        if claimed not in preset.metrics:
            raise ValueError(f"`--sample` is of fashion_mnist; {preset.name} knows others.")
    with waiting(f"Measuring {preset.name} on {options.data or name}"):
        result = evaluate(
            preset.checkpoint, file.path, name, preset.split, options.data_dir, options.data,
            "skip" if options.skip_unreadable else "error",
        )  # fmt: skip
    says = f"; the card says {preset.metrics[claimed]:.2f} %"
    print(
        f"{preset.name} ({file.place}): accuracy {result['accuracy']:.2f} % on {result['images']} "
        f"images{'' if options.data else says}"
    )
    return 0


def _predict(options):
    from keras_pdenets.training.predicting import predict

    answers = predict(options.model, options.images)
    for image, classes in waited(f"Asking {options.model}", answers):
        shown = ", ".join(f"{printable(n)} {100 * p:.1f} %" for n, p in classes[: options.top])
        print(f"{printable(str(image), 200)}: {shown}")
    return 0


def _presets(options):
    from keras_pdenets.presets import get_preset, list_presets

    for name in list_presets(options.pattern) or [options.pattern]:
        preset = get_preset(name)  # the error for a pattern without a match lists all names
        accuracy = preset.metrics["test_accuracy"]
        print(f"{name}  {accuracy:.2f} % on {preset.dataset}, {preset.size / 1e6:.1f} MB")
    return 0


def _models(options):
    from keras_pdenets.presets import markdown_table

    print(markdown_table())
    return 0


def _pin(options):
    from keras_pdenets.publishing.release import pin

    with waiting("Measuring the run and writing the preset"):
        preset = pin(options.run_folder, options.hardware, options.remark, options.data_dir)
    print(f"{preset.name}: {preset.metrics}")
    return 0

"""The command `keras-pdenets`."""

import argparse
import sys
from pathlib import Path

from keras_pdenets.cli import benchmark, depth, export, publish, zoo


def main(arguments=None):
    """Run the command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from the last whole epoch.", file=sys.stderr)
        return 130
    except (ValueError, RuntimeError, OSError, ImportError) as error:
        if options.traceback:
            raise
        print(f"keras-pdenets: {error}", file=sys.stderr)
        return 1


def _parser():
    parser = argparse.ArgumentParser(
        prog="keras-pdenets",
        description="Train, evaluate, export and compare nets designed as PDEs.",
    )
    parser.add_argument("--traceback", action="store_true", help="show where an error comes from")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="train a preset by its recipe, or go on with it")
    what = train.add_mutually_exclusive_group(required=True)
    what.add_argument("--preset", help="name of a folder in weights/ with a recipe.json")
    what.add_argument("--recipe", type=Path, help="a recipe file")
    train.add_argument("--out", type=Path, help="folder of the run (default: runs/PRESET)")
    train.add_argument("--limit-minutes", type=float, help="stop before an epoch that ends later")
    train.add_argument("--data-dir", help="folder of TensorFlow Datasets")
    train.add_argument(
        "--devices",
        metavar="N|all|KIND:N",
        help="accelerators to train on, such as 2, all or gpu:2; cpu:2 parts the CPU, for tests",
    )
    train.set_defaults(run=_train)

    evaluate = commands.add_parser("evaluate", help="measure a preset on its test split")
    evaluate.add_argument("--preset", required=True)
    evaluate.add_argument("--sample", action="store_true", help="on the bundled sample instead")
    evaluate.add_argument("--data-dir", help="folder of TensorFlow Datasets")
    evaluate.set_defaults(run=_evaluate)

    depth.add_commands(commands)
    export.add_commands(commands)
    benchmark.add_commands(commands)
    publish.add_commands(commands)
    zoo.add_commands(commands)

    presets = commands.add_parser("presets", help="list the checkpoints")
    presets.set_defaults(run=_presets)

    models = commands.add_parser("models", help="print the table of models, as Markdown")
    models.set_defaults(run=_models)

    pin = commands.add_parser("pin", help="make a preset of a finished run (for developers)")
    pin.add_argument("--run", dest="folder", type=Path, required=True, help="folder of the run")
    pin.add_argument("--hardware", required=True, help="what it was trained on, for the card")
    pin.add_argument("--remark", default="", help="sentence about the training, for the card")
    pin.add_argument("--data-dir", help="folder of TensorFlow Datasets")
    pin.set_defaults(run=_pin)
    return parser


# The imports stand inside the functions: Keras takes seconds to load, `--help` should not.


def _recipe_file(preset):
    """The recipe of a preset in this checkout."""
    from keras_pdenets.hub.resolve import CHECKOUT_WEIGHTS
    from keras_pdenets.presets import lookup

    recipes = {path.parent.name: path for path in CHECKOUT_WEIGHTS.glob("*/recipe.json")}
    if not recipes:
        raise ValueError(
            f"There are no recipes in {CHECKOUT_WEIGHTS}: run this in a checkout, or give --recipe."
        )
    return lookup("preset", preset, recipes)


def _train(options):
    from keras_pdenets.training import Recipe, train

    recipe = Recipe.from_file(options.recipe or _recipe_file(options.preset))
    folder = options.out or Path("runs") / recipe.preset
    history = train(
        recipe, folder, options.limit_minutes, options.data_dir, devices=options.devices
    )
    if len(history) < recipe.epochs:
        print(f"{len(history)} of {recipe.epochs} epochs done; the same command goes on.")
    else:
        print(f"Done: {folder / 'model.safetensors'}")
    return 0


def _evaluate(options):
    from keras_pdenets.hub.resolve import resolve
    from keras_pdenets.presets import get_preset
    from keras_pdenets.training import evaluate

    preset = get_preset(options.preset)
    path, source = resolve(preset)
    name, claimed = preset.dataset, "test_accuracy"
    if options.sample:
        name, claimed = "sample", "sample_accuracy"
        if claimed not in preset.metrics:
            raise ValueError(f"`--sample` is of fashion_mnist; {preset.name} knows others.")
    result = evaluate(preset.checkpoint, path, name, preset.split, options.data_dir)
    print(
        f"{preset.name} ({source}): accuracy {result['accuracy']:.2f} % on {result['images']} "
        f"images; the card says {preset.metrics[claimed]:.2f} %"
    )
    return 0


def _presets(options):
    from keras_pdenets.presets import read_presets

    for name, preset in read_presets().items():
        accuracy = preset.metrics["test_accuracy"]
        print(f"{name}  {accuracy:.2f} % on {preset.dataset}, {preset.size / 1e6:.1f} MB")
    return 0


def _models(options):
    from keras_pdenets.presets import markdown_table

    print(markdown_table())
    return 0


def _pin(options):
    from keras_pdenets.training.release import pin

    preset = pin(options.folder, options.hardware, options.remark, options.data_dir)
    print(f"{preset.name}: {preset.metrics}")
    return 0

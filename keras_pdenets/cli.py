"""The command `keras-pdenets`."""

import argparse
import os
import sys
from pathlib import Path


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
        prog="keras-pdenets", description="Train, evaluate and list nets designed as PDEs."
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
    train.set_defaults(run=_train)

    evaluate = commands.add_parser("evaluate", help="measure a preset on its test split")
    evaluate.add_argument("--preset", required=True)
    evaluate.add_argument("--sample", action="store_true", help="on the bundled sample instead")
    evaluate.add_argument("--data-dir", help="folder of TensorFlow Datasets")
    evaluate.set_defaults(run=_evaluate)

    measure = commands.add_parser(
        "measure", help="how much every residual block changes the data, and how many it takes"
    )
    model = measure.add_mutually_exclusive_group(required=True)
    model.add_argument("--preset", help="a checkpoint of this package")
    model.add_argument("--model", type=Path, help="a .keras file of any residual net")
    measure.add_argument("--dataset", default="sample", help="TFDS name (default: the sample)")
    measure.add_argument("--split", default="test")
    measure.add_argument("--epsilon", type=float, default=0.1, help="bound on the mean change")
    measure.add_argument("--csv", type=Path, help="write one row for each block")
    measure.add_argument("--plot", type=Path, help="write a picture (PNG)")
    measure.add_argument("--data-dir", help="folder of TensorFlow Datasets")
    measure.set_defaults(run=_measure)

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
    history = train(recipe, folder, options.limit_minutes, options.data_dir)
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


def _measure(options):
    import keras

    from keras_pdenets import applications
    from keras_pdenets.analysis import measure_perturbation
    from keras_pdenets.data import DataSource
    from keras_pdenets.operators import stopping_rule
    from keras_pdenets.plots import plot_perturbations
    from keras_pdenets.presets import ARCHITECTURES, get_preset

    if options.preset:
        row = ARCHITECTURES[get_preset(options.preset).checkpoint.architecture]
        model = getattr(applications, row.builder)(weights=options.preset)
    else:
        model = keras.saving.load_model(options.model)
    source = DataSource(options.dataset, options.split, options.data_dir)
    report = measure_perturbation(model, source.batches(128))
    print(report)
    depths = stopping_rule([s.scaled_distance for s in report.sections], options.epsilon)
    print(f"blocks for a mean below {options.epsilon}: {', '.join(map(str, depths))}")
    if options.csv:
        report.write_csv(options.csv)
    if options.plot:
        plot_perturbations({options.preset or options.model.name: report}, options.plot)
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


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main())

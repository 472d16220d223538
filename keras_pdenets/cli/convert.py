"""The command that turns the convolutions of a net into other operators."""

from keras_pdenets.cli.arguments import OPERATORS, add_command, count, count_or_none, path, positive


def add_commands(commands):
    """Add the command to the parser."""
    convert = add_command(
        commands, "convert", _convert,
        "keras-pdenets convert runs/net.keras --operator decomposed --data runs/pictures "
        "--budget 0.6 --out runs/thin.keras",
        help="turn a trained net into a PDE net or a decomposed one, without training",
        description="Turn the 3x3 convolutions of a trained net into differential operators (two "
        "thirds of the numbers), or into pairs of one-dimensional ones (fewer operations), by "
        "least squares on the outputs of each layer over some hundred images without labels.",
        reads=("model", "data"),
    )  # fmt: skip
    convert.add_argument("model", type=path, help="a .keras file")
    convert.add_argument("--operator", default="pde", choices=OPERATORS, help="default: pde")
    convert.add_argument(
        "--data", type=path, required=True,
        help="folder of pictures (pixels of 0-255), or .npy file of images as the model takes them",
    )  # fmt: skip
    convert.add_argument("--images", type=count, default=400, help="how many are taken (400)")
    convert.add_argument("--layers", help="pattern of the layers' names, such as 'stage2*'")
    convert.add_argument("--budget", type=positive, help="share of operations that may remain")
    convert.add_argument(
        "--distil", type=count_or_none, default=0,
        help="epochs of training to the outputs of the original, on these images",
    )  # fmt: skip
    convert.add_argument("--work", type=path, help="folder in which a stopped conversion goes on")
    convert.add_argument("--seed", type=count_or_none, default=0, help="of the choice of places")
    convert.add_argument("--csv", type=path, help="write one row for each layer")
    convert.add_argument("--plot", type=path, help="write a picture (PNG) of the layers' errors")
    convert.add_argument("--out", type=path, required=True, help="the new .keras file")


def _convert(options):
    import keras

    from keras_pdenets.data import load_pictures
    from keras_pdenets.transforms import convert
    from keras_pdenets.utils.atomic import replace_file

    if options.out.suffix != ".keras":
        raise ValueError(f"`out` must be a .keras file. Received: {options.out}")
    model = keras.saving.load_model(options.model, compile=False)
    shape = tuple(model.inputs[0].shape)[1:]
    new, report = convert(
        model, options.operator, load_pictures(options.data, shape, options.images),
        layers=options.layers, budget=options.budget, distil=options.distil, seed=options.seed,
        folder=options.work,
    )  # fmt: skip
    replace_file(options.out, new.save)
    print(report)
    if options.csv:
        report.write_csv(options.csv)
    if options.plot:
        from keras_pdenets.plots import plot_conversion

        plot_conversion(report, options.plot, f"{model.name} as {options.operator}")
    print(f"Done: {options.out} (opens after `import keras_pdenets`)")
    return 0

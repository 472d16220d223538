"""The command that makes a net for a folder of own images."""

from keras_pdenets.cli.arguments import (
    add_command,
    add_preset,
    count,
    count_or_none,
    path,
    positive,
)


def add_commands(commands):
    """Add the command to the parser."""
    finetune = add_command(
        commands, "finetune", _finetune,
        "keras-pdenets finetune pde_resnet20_fashion_mnist runs/photos --size 64 --out runs/mine",
        help="fine-tune a preset on a folder of own images",
        description="Give a pretrained net a new head for a folder of images by class, train the "
        "head, then all layers; keep the best epoch; write the net for Keras and ONNX, and a "
        "report with a confusion matrix. A killed run goes on with the same command.",
        reads=("folder",),
    )  # fmt: skip
    add_preset(finetune, "preset", help="a preset, or a weight file")
    finetune.add_argument("folder", type=path, help="one folder of images for each class")
    finetune.add_argument("--out", type=path, required=True, help="folder of the job")
    finetune.add_argument("--size", type=count, help="side of the images (default: the net's own)")
    finetune.add_argument(
        "--epochs", type=count, nargs=2, default=(5, 15), metavar=("HEAD", "ALL"),
        help="epochs of the head alone, and of all layers (5 15)",
    )  # fmt: skip
    finetune.add_argument(
        "--rates", type=positive, nargs=2, default=(1e-2, 3e-3), metavar=("HEAD", "ALL"),
        help="their learning rates (0.01 0.003)",
    )  # fmt: skip
    finetune.add_argument("--batch", type=count, help="images in a step (8 to 32)")
    finetune.add_argument(
        "--validation", type=positive, default=0.2,
        help="share of each class that chooses the epoch (0.2)",
    )  # fmt: skip
    finetune.add_argument("--seed", type=count_or_none, default=0, help="of everything (0)")
    finetune.add_argument("--no-flip", action="store_true", help="mirror no image: digits, letters")
    finetune.add_argument(
        "--skip-unreadable", action="store_true", help="leave out files that are broken"
    )
    finetune.add_argument("--no-onnx", action="store_true", help="write no model.onnx")
    finetune.add_argument(
        "--limit-minutes", type=positive, help="stop before an epoch that ends later"
    )


def _finetune(options):
    from keras_pdenets.finetuning import finetune

    report = finetune(
        options.preset, options.folder, options.out, image_size=options.size,
        epochs=tuple(options.epochs), learning_rates=tuple(options.rates),
        batch_size=options.batch, validation=options.validation, seed=options.seed,
        flip=not options.no_flip, onnx=not options.no_onnx, limit_minutes=options.limit_minutes,
        unreadable="skip" if options.skip_unreadable else "error",
    )  # fmt: skip
    if report is None:
        print("Not finished; the same command resumes.")
    else:
        print(report)
    return 0

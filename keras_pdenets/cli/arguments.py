"""What the commands share: how they are added, and the types of their arguments."""

import argparse
import json
import math
import textwrap
from pathlib import Path

# What `keras-pdenets --help` lists, in this order; every other command stands below `dev`.
MAIN = (
    "train", "finetune", "evaluate", "predict", "convert", "search", "export", "verify", "publish",
    "demo",
)  # fmt: skip
# Spelt out here, as the tables themselves stand behind Keras; a test compares them.
FORMATS = ("tf_saved_model", "onnx", "litert", "openvino", "torch")
MODES = ("inference", "training")
ORACLES = ("depth", "grid", "random", "bayesian", "hyperband")
OPERATORS = ("pde", "decomposed")
DECOMPOSED = ("measure", "keep", "merge")
CALLBACKS = ("csv", "early_stopping", "recover", "tensorboard", "wandb")
SUITES = ("folded", "training", "training50", "peers")


class Commands:
    """Adds commands where they belong: those of `MAIN` to the parser, all others below `dev`.

    Args:
        parser: The parser of `keras-pdenets`.
    """

    def __init__(self, parser):
        self._main = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
        # Without `help` it is not in the list; the text below the list names it.
        text = "Commands for those who develop nets, or this package."
        dev = self._main.add_parser("dev", description=text)
        self._dev = dev.add_subparsers(required=True, metavar="COMMAND", title="commands")

    def add_parser(self, name, **keywords):
        """As that of argparse."""
        return (self._main if name in MAIN else self._dev).add_parser(name, **keywords)


def add_command(commands, name, run, example, *, help, description=None, reads=(), data=False):
    """Add a command to a parser.

    Args:
        commands: `Commands`, or what `add_subparsers` returned.
        name: Its name.
        run: Function of the options that returns the exit status.
        example: A whole command line, shown below its help.
        help: One line for the list of commands.
        description: More, for its own help; None: `help`.
        reads: Names of the options that are files or folders which must be there.
        data: Whether it reads a data set, and takes `--data-dir`.

    Returns:
        The command's parser.
    """
    parser = commands.add_parser(
        name, help=help, description=wrap(description or f"{help[0].upper()}{help[1:]}."),
        epilog=f"Example:\n  {example}", formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.set_defaults(run=run, reads=reads)
    if data:
        parser.add_argument("--data-dir", type=folder, help="folder of TensorFlow Datasets")
    return parser


def preset_names(**keywords):
    """The names of all checkpoints, for the completion of command lines: without Keras."""
    rows = json.loads(Path(__file__).parents[1].joinpath("presets.json").read_bytes())
    return [row["name"] for row in rows]


def add_preset(parser, *names, **keywords):
    """Add an argument that takes the name of a checkpoint."""
    parser.add_argument(*names, **keywords).completer = preset_names


def wrap(text):
    """A text in lines, no name cut at its hyphens, so that commands can be copied."""
    return textwrap.fill(text, 80, break_on_hyphens=False, break_long_words=False)


def check_reads(options):
    """Raise FileNotFoundError for the first file of `options.reads` that is not there."""
    for name in options.reads:
        path = getattr(options, name)
        if path is not None and not path.exists():
            raise FileNotFoundError(
                f"`{name}` must be a file or folder that exists. Received: {path} (looked for at "
                f"{path.absolute()})"
            )


def path(text):
    """A path; `~` is the home folder, in `--out=~/runs` too, where the shell leaves it."""
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    return Path(text).expanduser()


def folder(text):
    """As `path`, for what takes a text."""
    return str(path(text))


def count(text):
    """An integer of 1 or more."""
    return _number(text, int, lambda value: 1 <= value < 2**31, "an integer of 1 or more")


def count_or_none(text):
    """An integer of 0 or more."""
    return _number(text, int, lambda value: 0 <= value < 2**31, "an integer of 0 or more")


def positive(text):
    """A finite number above 0."""
    return _number(text, float, lambda value: 0 < value < math.inf, "a number above 0")


def _number(text, kind, holds, rule):
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not holds(value):
        raise argparse.ArgumentTypeError(f"must be {rule}. Received: {text}")
    return value

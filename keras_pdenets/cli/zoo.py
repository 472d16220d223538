"""The command `zoo`: many nets, trained alike."""

import argparse
from pathlib import Path

from keras_pdenets.cli.arguments import add_command, count, folder, path, positive
from keras_pdenets.utils.text import LONGEST_REFERENCE, printable


def add_commands(commands):
    """Add the command to the parser."""
    zoo = commands.add_parser(
        "zoo", help="train many nets alike, and compare them",
        description="Train many nets alike, and compare them.",
        epilog="Example:\n  keras-pdenets zoo run tuning/zoo/fashion_mnist_20.json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    actions = zoo.add_subparsers(required=True, metavar="ACTION")

    run = add_command(
        actions, "run", _run, "keras-pdenets zoo run tuning/zoo/fashion_mnist_20.json",
        help="train what is missing, or go on with it", reads=("protocol",),
    )  # fmt: skip
    run.add_argument("protocol", type=path, help="a protocol file, such as those of tuning/zoo")
    run.add_argument("--out", type=path, help="folder of the runs (default: runs/PROTOCOL)")
    run.add_argument("--only", action="append", metavar="RUN", help="this run, such as pde-seed1")
    run.add_argument("--limit-minutes", type=positive, help="stop a run before an epoch ends later")
    run.add_argument("--data-dir", type=folder, help="folder of TensorFlow Datasets")
    run.add_argument("--devices", metavar="N|all|KIND:N", help="as in `train`")

    dry = add_command(
        actions, "dry-run", _dry_run,
        "keras-pdenets zoo dry-run tuning/zoo/fashion_mnist_20.json --only pde --batch 8",
        help="the first steps of every net, nothing kept", reads=("protocol",),
    )  # fmt: skip
    dry.add_argument("protocol", type=path, help="as in `zoo run`")
    dry.add_argument("--only", action="append", metavar="NET", help="this net")
    dry.add_argument("--steps", type=count, default=2, help="training steps (2)")
    dry.add_argument("--batch", type=count, help="images in a step (default: the recipe's)")
    dry.add_argument("--data-dir", type=folder, help="folder of TensorFlow Datasets")

    table = add_command(
        actions, "table", _table, "keras-pdenets zoo table runs/fashion_mnist_20",
        help="table.md, table.csv and pictures of finished runs",
        reads=("folder", "protocol", "readme"),
    )  # fmt: skip
    table.add_argument("folder", type=path, help="folder of the runs")
    table.add_argument("--protocol", type=path, help="order of the nets and the papers' figures")
    table.add_argument("--out", type=path, help="where to write (default: the folder of the runs)")
    table.add_argument("--readme", type=path, help="put the table between the marks in this file")


def _run(options):
    from keras_pdenets.experiments import Protocol, run_protocol

    protocol = Protocol.from_file(options.protocol)
    out = options.out or Path("runs") / options.protocol.stem
    papers = {entry.name: entry.paper for entry in protocol.entries}
    missing = []
    for name, result in run_protocol(
        protocol, out, options.only, options.limit_minutes, options.data_dir, options.devices
    ):
        if result is None:
            missing.append(name)
            continue
        paper = f"; paper: {printable(papers[result.entry])}" if papers[result.entry] else ""
        print(f"{name}: {result.accuracy:.2f} % on {result.images} images{paper}")
    if missing:
        print(f"Not finished: {', '.join(missing)}. The same command goes on.")
    print(f"keras-pdenets zoo table {out} --protocol {options.protocol}")
    return 0


def _dry_run(options):
    from keras_pdenets.experiments import Protocol, dry_run

    protocol = Protocol.from_file(options.protocol)
    for entry, parameters, losses in dry_run(
        protocol, options.steps, options.batch, options.only, options.data_dir
    ):
        shown = ", ".join(f"{loss:.3f}" for loss in losses)
        paper = printable(entry.paper) or "-"
        print(f"{entry.name}: {parameters:,} weights; losses {shown}; paper: {paper}")
    if protocol.reference:
        print(printable(protocol.reference, LONGEST_REFERENCE))
    return 0


def _table(options):
    from keras_pdenets.experiments import Protocol, read_results
    from keras_pdenets.experiments.table import markdown, put_into, write_table
    from keras_pdenets.plots import plot_zoo
    from keras_pdenets.utils.locking import locked

    protocol = Protocol.from_file(options.protocol) if options.protocol else None
    results, unfinished = read_results(options.folder, protocol.varied if protocol else ())
    if not results:
        raise ValueError(f"No run in {options.folder} is finished: {', '.join(unfinished)}.")
    out = options.out or options.folder
    with locked(out):
        write_table(results, out, unfinished, protocol)
        plot_zoo(results, out)
    text = markdown(results, unfinished, protocol)
    if options.readme:
        put_into(options.readme, (options.protocol or options.folder).stem, text)
    print(text)
    return 0

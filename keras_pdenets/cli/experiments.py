"""The commands `zoo` and `sweep`: many nets, trained alike."""

from pathlib import Path

from keras_pdenets.cli.arguments import add_command, count, path, positive
from keras_pdenets.cli.waiting import waited, waiting
from keras_pdenets.utils.text import LONGEST_REFERENCE, printable


def add_commands(commands):
    """Add the commands to the parser."""
    example = "keras-pdenets dev zoo run tuning/zoo/fashion_mnist_20.json"
    zoo = add_command(
        commands, "zoo", None, example, help="train many nets alike, and compare them"
    )
    actions = zoo.add_subparsers(required=True, metavar="ACTION")

    run = add_command(
        actions, "run", _run, example, help="train what is missing, or resume it",
        reads=("protocol",), data=True,
    )  # fmt: skip
    run.add_argument("protocol", type=path, help="a protocol file, such as those of tuning/zoo")
    run.add_argument("--out", type=path, help="folder of the runs (default: runs/PROTOCOL)")
    run.add_argument("--only", action="append", metavar="RUN", help="this run, such as pde-seed1")
    run.add_argument("--devices", metavar="N|all|KIND:N", help="as in `train`")
    _add_limit(run)

    dry = add_command(
        actions, "dry-run", _dry_run_protocol,
        "keras-pdenets dev zoo dry-run tuning/zoo/fashion_mnist_20.json --only pde --batch 8",
        help="the first steps of every net, nothing kept", reads=("protocol",), data=True,
    )  # fmt: skip
    dry.add_argument("protocol", type=path, help="as in `dev zoo run`")
    dry.add_argument("--only", action="append", metavar="NET", help="this net")
    _add_steps(dry)

    table = add_command(
        actions, "table", _table, "keras-pdenets dev zoo table runs/fashion_mnist_20",
        help="table.md, table.csv and pictures of finished runs",
        reads=("folder", "protocol", "readme"),
    )  # fmt: skip
    table.add_argument("folder", type=path, help="folder of the runs")
    table.add_argument("--protocol", type=path, help="order of the nets and the papers' figures")
    table.add_argument("--out", type=path, help="where to write (default: the folder of the runs)")
    table.add_argument("--readme", type=path, help="put the table between the marks in this file")

    sweep = add_command(
        commands, "sweep", _sweep,
        "keras-pdenets dev sweep tuning/sweep_fashion_mnist.json --dry-run",
        help="train a net at many depths, measure, draw", reads=("sweep",), data=True,
    )  # fmt: skip
    sweep.add_argument("sweep", type=path, help="a sweep, such as tuning/sweep_fashion_mnist.json")
    sweep.add_argument("--out", type=path, help="folder of the runs (default: runs/SWEEP)")
    sweep.add_argument("--plots-only", action="store_true", help="train nothing, draw what is done")
    sweep.add_argument(
        "--dry-run", action="store_true", help="first steps of the shallowest and deepest net"
    )
    _add_limit(sweep)
    _add_steps(sweep)


def _add_limit(parser):
    parser.add_argument(
        "--limit-minutes", type=positive, help="stop before an epoch that ends later"
    )


def _add_steps(parser):
    parser.add_argument("--steps", type=count, default=2, help="training steps of a dry run (2)")
    parser.add_argument("--batch", type=count, help="images in a step of a dry run")


def _run(options):
    from keras_pdenets.experiments import Protocol, run

    protocol = Protocol.from_file(options.protocol)
    out = options.out or Path("runs") / options.protocol.stem
    papers = {entry.name: entry.paper for entry in protocol.entries}
    missing = []
    for name, result in run(
        protocol, out, options.only, options.limit_minutes, options.data_dir,
        devices=options.devices,
    ):  # fmt: skip
        if result is None:
            missing.append(name)
            continue
        paper = f"; paper: {printable(papers[result.entry])}" if papers[result.entry] else ""
        print(f"{name}: {result.accuracy:.2f} % on {result.images} images{paper}")
    if missing:
        print(f"Not finished: {', '.join(missing)}. The same command resumes.")
    print(f"keras-pdenets dev zoo table {out} --protocol {options.protocol}")
    return 0


def _dry_run_protocol(options):
    from keras_pdenets.experiments import Protocol

    protocol = Protocol.from_file(options.protocol)
    papers = {e.name: f"; paper: {printable(e.paper) or '-'}" for e in protocol.entries}
    return _dry_run(protocol, options, papers, options.only)


def _dry_run(experiment, options, papers, only=None):
    from keras_pdenets.experiments import dry_run

    runs = dry_run(experiment, options.steps, options.batch, only, options.data_dir)
    for name, parameters, losses in waited("First steps of the next net", runs):
        shown = ", ".join(f"{loss:.3f}" for loss in losses)
        print(f"{name}: {parameters:,} weights; losses {shown}{papers.get(name, '')}")
    _print_reference(experiment)
    return 0


def _print_reference(experiment):
    if experiment.reference:
        print(printable(experiment.reference, LONGEST_REFERENCE))


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
    with locked(out), waiting("Writing the table and drawing the pictures"):
        write_table(results, out, unfinished, protocol)
        plot_zoo(results, out)
    text = markdown(results, unfinished, protocol)
    if options.readme:
        put_into(options.readme, (options.protocol or options.folder).stem, text)
    print(text)
    return 0


def _sweep(options):
    from keras_pdenets.experiments import Sweep, run
    from keras_pdenets.experiments.sweep import collect, exponents
    from keras_pdenets.plots import plot_sweep

    sweep = Sweep.from_file(options.sweep)
    if options.dry_run:
        return _dry_run(sweep, options, {})
    out = options.out or Path("runs") / options.sweep.stem
    if not options.plots_only:
        missing = [
            name
            for name, result in run(
                sweep, out, limit_minutes=options.limit_minutes, data_dir=options.data_dir
            )
            if result is None
        ]
        if missing:
            print(f"Not finished: {', '.join(missing)}. The same command resumes.")
    rows = collect(sweep, out)
    if not rows:
        print("No net is finished; the same command resumes.")
        return 0
    plot_sweep(rows, out)
    for line in exponents(rows):
        print(line)
    _print_reference(sweep)
    return 0

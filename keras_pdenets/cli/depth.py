"""Commands on depth: measure and search."""

import os
from pathlib import Path

from keras_pdenets.cli.arguments import (
    ORACLES,
    add_command,
    add_preset,
    count,
    count_or_none,
    path,
)
from keras_pdenets.cli.waiting import waiting


def add_commands(commands):
    """Add the commands to the parser."""
    measure = add_command(
        commands, "measure", _measure,
        "keras-pdenets dev measure --preset resnet20_fashion_mnist --plot measure.png",
        help="how much every residual block changes the data, and how many it takes",
        reads=("model",), data=True,
    )  # fmt: skip
    model = measure.add_mutually_exclusive_group(required=True)
    add_preset(model, "--preset", help="a checkpoint of this package")
    model.add_argument("--model", type=path, help="a .keras file of any residual net")
    measure.add_argument("--dataset", default="sample", help="TFDS name (default: the sample)")
    measure.add_argument("--split", default="test", help="split of the data set (test)")
    measure.add_argument("--epsilon", type=float, default=0.1, help="bound on the mean change")
    measure.add_argument("--csv", type=path, help="write one row for each block")
    measure.add_argument("--plot", type=path, help="write a picture (PNG)")

    search = add_command(
        commands, "search", _search,
        "keras-pdenets search tuning/fashion_mnist_7px.json --oracle grid",
        help="find the depth of a net, on KerasTuner", reads=("space",), data=True,
    )  # fmt: skip
    search.add_argument("space", type=path, help="a search space, such as tuning/*.json")
    search.add_argument(
        "--oracle", default="depth", choices=ORACLES, help="what chooses the trials (depth)"
    )
    search.add_argument(
        "--out", type=path, help="folder of the search (default: runs/SPACE_ORACLE)"
    )
    search.add_argument("--max-trials", type=count, help="needed for random and bayesian")
    search.add_argument(
        "--workers", type=count_or_none, default=0, help="processes that share the search"
    )
    search.add_argument(
        "--gpus", type=count_or_none, default=0, help="GPUs dealt out to the workers"
    )
    search.add_argument("--seed", type=int, help="in place of the one of the space")


def _measure(options):
    import keras

    from keras_pdenets.analysis import measure_perturbation
    from keras_pdenets.applications import load_model
    from keras_pdenets.data import DataSource
    from keras_pdenets.operators import stopping_rule
    from keras_pdenets.plots import plot_perturbations

    own = options.preset is not None
    model = load_model(options.preset) if own else keras.saving.load_model(options.model)
    source = DataSource(options.dataset, options.split, options.data_dir)
    with waiting("Measuring every block"):
        report = measure_perturbation(model, source.batches(128))
    print(report)
    depths = stopping_rule([s.scaled_distance for s in report.sections], options.epsilon)
    print(f"blocks for a mean below {options.epsilon}: {', '.join(map(str, depths))}")
    if options.csv:
        report.write_csv(options.csv)
    if options.plot:
        plot_perturbations({options.preset or options.model.name: report}, options.plot)
    return 0


def _search(options):
    out = options.out or Path("runs") / f"{options.space.stem}_{options.oracle}"
    if options.workers and "KERASTUNER_ORACLE_IP" not in os.environ:
        return _launch(options, out)
    from dataclasses import replace

    from keras_pdenets.search import SearchSpace, run_search
    from keras_pdenets.search.launch import follow_launcher
    from keras_pdenets.utils.extras import require

    follow_launcher()
    space = SearchSpace.from_file(options.space)
    if options.seed is not None:
        space = replace(space, seed=options.seed)
    worker = os.environ.get("KERASTUNER_TUNER_ID", "chief") != "chief"
    if not worker:
        require("matplotlib", "plots")  # not after hours of search
    result = run_search(
        options.oracle, space, out, options.max_trials,
        data_dir=options.data_dir, verbose=0 if worker else 1,
    )  # fmt: skip
    if result is not None:  # a worker has none
        from keras_pdenets.plots import plot_search
        from keras_pdenets.search.run import TRIALS

        print(result)
        plot_search(out / TRIALS, out / "search.png")
    return 0


def _launch(options, out):
    from keras_pdenets.search.launch import launch

    # Compiled steps are shared: nets of one shape come again in other trials and processes.
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(out.resolve() / "jax_cache"))
    arguments = ["-m", "keras_pdenets.cli", "search", str(options.space)]
    arguments += ["--oracle", options.oracle, "--out", str(out)]
    for name in ("max_trials", "seed", "data_dir"):
        value = getattr(options, name)
        if value is not None:
            arguments += ["--" + name.replace("_", "-"), str(value)]
    restarts = launch(arguments, options.workers, options.gpus)
    print(f"The search ended; processes were killed {restarts} times.")
    return 0

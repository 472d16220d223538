"""The depth search against grid and Hyperband, with two controls, over paired seeds.

python tuning/compare.py tuning/fashion_mnist_7px.json --seeds 0 1 2 --out runs/compare

All arms share data, space, training code and start; the controls are trained from scratch for as
many block-epochs as the depth search cost: `cold`, the depths that it found, and `shallow`, its
first net. What is done is not done again: stop it at any moment, and go on with the same command.
"""

import argparse
import csv
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from keras_pdenets.search import SearchSpace, run_search
from keras_pdenets.search.oracles import OBJECTIVE, ListOracle
from keras_pdenets.search.run import RESULT, TRIALS

ARMS = ("depth", "cold", "shallow", "grid", "hyperband")


def run_arm(arm, space, folder, data_dir=None):
    """The result of one arm, as a dictionary."""
    oracle = None
    if arm in ("cold", "shallow"):
        found = folder / "depth" / RESULT
        if not found.exists():
            raise SystemExit(f"{arm} needs what the depth search found: run --arms depth first")
        oracle = control(arm, space, json.loads(found.read_text(encoding="utf-8")))
    # Trains nothing where it is done; refuses a folder of another space.
    return asdict(run_search(arm, space, folder / arm, data_dir=data_dir, oracle=oracle))


def control(arm, space, found):
    """One training from scratch, as dear as the search."""
    depths = found["depths"] if arm == "cold" else space.rules.start
    epochs = max(1, round(found["block_epochs"] * len(depths) / sum(depths)))
    values = {f"depth_{s}": depth for s, depth in enumerate(depths)} | found["choice"]
    values |= {"tuner/epochs": epochs, "tuner/anneal": min(space.anneal_epochs, epochs)}
    return ListOracle([values], objective=OBJECTIVE)


def grid_by_depth(folder):
    """Best validation accuracy in the grid for each depth: does depth matter?"""
    with (folder / "grid" / TRIALS).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    best = {}
    for row in rows:
        depth, value = int(row["depths"].split()[0]), float(row["val_accuracy"])
        best[depth] = max(value, best.get(depth, 0.0))
    return best


def means(result):
    """Mean scaled perturbations, and whether they keep to epsilon."""
    listed = " ".join(f"{mean:.3f}" for mean in result["means"])
    if result["epsilon"] is None:
        return listed
    return f"{listed}, {'<=' if result['satisfied'] else 'NOT <='} {result['epsilon']}"


def report(results, grids):
    """Markdown: every arm of every seed, then means and differences from the grid."""
    lines = ["| seed | arm | blocks | rate | test % | means | block-epochs | images | seconds |"]
    lines.append("|---:|---|---|---:|---:|---|---:|---:|---:|")
    for seed, arms in results.items():
        for arm, r in arms.items():
            lines.append(
                f"| {seed} | {arm} | {' '.join(map(str, r['depths']))} | "
                f"{r['choice']['learning_rate']:.3g} | {100 * r['test_accuracy']:.2f} | "
                f"{means(r)} | {r['block_epochs']:.0f} | "
                f"{r['sample_passes']:,.0f} | {r['seconds']:.0f} |"
            )
    lines += [
        "",
        "| arm | test %, mean | less grid's, by seed | cost / grid's | cost / Hyperband's |",
    ]
    lines.append("|---|---:|---|---:|---:|")
    for arm in ARMS:
        done = {seed: arms for seed, arms in results.items() if set(ARMS) <= set(arms)}
        if not done:
            break
        test = [100 * arms[arm]["test_accuracy"] for arms in done.values()]
        less = [
            100 * (arms[arm]["test_accuracy"] - arms["grid"]["test_accuracy"])
            for arms in done.values()
        ]
        ratios = [
            np.mean(
                [arms[arm]["block_epochs"] / arms[other]["block_epochs"] for arms in done.values()]
            )
            for other in ("grid", "hyperband")
        ]
        lines.append(
            f"| {arm} | {np.mean(test):.2f} | {', '.join(f'{d:+.2f}' for d in less)} "
            f"(mean {np.mean(less):+.2f}) | {ratios[0]:.2f} | {ratios[1]:.2f} |"
        )
    lines += ["", "Best validation accuracy (%) of the grid at each depth, by seed:", ""]
    for seed, best in grids.items():
        listed = ", ".join(f"L={depth}: {100 * value:.2f}" for depth, value in sorted(best.items()))
        lines.append(f"- seed {seed}: {listed}")
    return "\n".join(lines) + "\n"


def main():
    """Run what is missing, then write report.md."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("space", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", default=ARMS, choices=ARMS)
    parser.add_argument("--out", type=Path, default=Path("runs/compare"))
    parser.add_argument("--data-dir")
    options = parser.parse_args()
    space = SearchSpace.from_file(options.space)
    results, grids = {}, {}
    for seed in options.seeds:
        folder = options.out / f"seed{seed}"
        for arm in options.arms:
            result = run_arm(arm, replace(space, seed=seed), folder, options.data_dir)
            results.setdefault(seed, {})[arm] = result
            print(f"seed {seed}, {arm}: test {100 * result['test_accuracy']:.2f} %", flush=True)
        if "grid" in options.arms:
            grids[seed] = grid_by_depth(folder)
    text = report(results, grids)
    (options.out / "report.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

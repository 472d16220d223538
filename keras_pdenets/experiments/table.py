"""The table of a protocol's runs, as Markdown and CSV, and its section in a README."""

import dataclasses
import re
from pathlib import Path

import numpy as np

from keras_pdenets.utils.atomic import write_file
from keras_pdenets.utils.tables import write_rows
from keras_pdenets.utils.text import LONGEST_REFERENCE, printable


def rows_of(results, protocol=None):
    """One dictionary for each net, in the order of the protocol.

    The spread is the standard deviation over the seeds; the difference is paired, with the first
    net's run of the same seed.
    """
    papers = {} if protocol is None else {e.name: e.paper for e in protocol.entries}
    names = [name for name in papers if any(r.entry == name for r in results)]
    names += sorted({r.entry for r in results} - set(names))
    by_name = {name: {r.seed: r for r in results if r.entry == name} for name in names}
    first = by_name[names[0]]
    return [_row(name, by_name[name], first, papers.get(name, "")) for name in names]


def _row(name, runs, first, paper):
    accuracies = np.array([run.accuracy for run in runs.values()])
    pairs = [run.accuracy - first[seed].accuracy for seed, run in runs.items() if seed in first]
    some = next(iter(runs.values()))
    return {
        "net": name,
        "architecture": some.net["architecture"],
        "parameters": some.parameters,
        "operations": some.operations,
        "accuracy": float(accuracies.mean()),
        "spread": float(accuracies.std(ddof=1)) if len(accuracies) > 1 else None,
        "runs": len(accuracies),
        "difference": float(np.mean(pairs)) if pairs else None,
        "epoch_seconds": float(np.median([run.epoch_seconds for run in runs.values()])),
        "paper": paper,
    }


def markdown(results, unfinished=(), protocol=None):
    """The table in Markdown, with a caption."""
    rows = rows_of(results, protocol)
    lines = [
        f"| net | parameters | MFLOP/image | accuracy, % | runs | less `{rows[0]['net']}` "
        "| s/epoch | paper |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        spread = "" if row["spread"] is None else f" ± {row['spread']:.2f}"
        difference = "" if row["difference"] is None else f"{row['difference']:+.2f}"
        lines.append(
            f"| `{_cell(row['net'])}` | {row['parameters']:,} | {row['operations'] / 1e6:.1f} "
            f"| {row['accuracy']:.2f}{spread} | {row['runs']} | {difference} "
            f"| {row['epoch_seconds']:.0f} | {_cell(row['paper'])} |"
        )
    lines += ["", _caption(results, protocol)]
    if protocol is not None:
        lines += [
            f"Of its own, `{entry.name}`: "
            f"{', '.join(_cell(f'{name} {value}') for name, value in entry.recipe.items())}."
            for entry in protocol.entries
            if entry.recipe
        ]
    if protocol is not None and protocol.reference:
        lines.append(f'Column "paper": {_cell(protocol.reference)}.')
    if unfinished:
        lines.append(f"Not finished: {', '.join(map(_cell, unfinished))}.")
    return "\n".join(lines)


def _cell(text):
    """A text from a file, escaped so that it ends no cell, line or section of a README."""
    return printable(text, LONGEST_REFERENCE).replace("|", "\\|").replace("<!--", "&lt;!--")


def _caption(results, protocol):
    recipe = results[0].recipe
    if protocol is not None:  # without what the first net has of its own
        entry = dataclasses.replace(protocol.entries[0], recipe={})
        recipe = dataclasses.asdict(protocol.recipe_of(entry, protocol.seeds[0]))
    phases = ", ".join(
        f"{s['epochs']} epochs at {s['image_size'] or recipe['checkpoint']['input_shape'][0]} px"
        for s in recipe["stages"]
    )
    machines = _cell("; ".join(sorted({r.machine for r in results})))
    split = _cell(recipe["test_split"])
    return (
        f"{recipe['dataset']}, {results[0].images:,} images of `{split}`, the last epoch; mean ± "
        "standard deviation over seeds, difference by seed. All nets: "
        f"{phases}, batch {recipe['batch_size']}, {recipe['optimizer']}, peak rate "
        f"{recipe['learning_rate']:g}, weight decay {recipe['weight_decay']:g}. {machines}."
    )


def write_table(results, folder, unfinished=(), protocol=None):
    """Write `table.md` and `table.csv` into a folder, each atomically."""
    folder = Path(folder)
    write_rows(folder / "table.csv", rows_of(results, protocol))
    write_file(folder / "table.md", markdown(results, unfinished, protocol) + "\n")


def put_into(readme, name, text):
    """Replace the text between the marks `<!-- zoo NAME -->` and `<!-- /zoo -->`.

    Raises:
        ValueError: If the file has not exactly one such section.
    """
    readme = Path(readme)
    old = readme.read_text(encoding="utf-8")
    pattern = re.compile(rf"(<!-- zoo {re.escape(name)} -->\n).*?(<!-- /zoo -->)", re.DOTALL)
    count = len(pattern.findall(old))
    if count != 1:
        raise ValueError(
            f"`readme` must have one section from `<!-- zoo {name} -->` to `<!-- /zoo -->`. "
            f"Received: {readme}, with {count}"
        )
    write_file(readme, pattern.sub(lambda m: f"{m[1]}{text}\n{m[2]}", old))

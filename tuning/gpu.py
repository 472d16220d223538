"""Train what a queue names on a GPU, within given minutes, the longest first; resumes.

    python tuning/gpu.py --minutes 12 --processes 3 --out runs/gpu
    python tuning/gpu.py --join runs/gpu/done/fashion_mnist_20-resnet-seed0 --out net.safetensors

The queue (`tuning/gpu_queue.json`) is a list of groups, which are done one after the other; in a
group the longest run that is expected to end in time comes first. Needs JAX or torch, this package
and what it needs itself; no TensorFlow where the images are idx files (`--data-dir`). Each run that
is finished leaves a folder in `done`: its result or measures, log, recipe, and the weights in 16
bits, in shards of at most 15 MB. Several processes share the queue and the GPU; each takes what no
other is in.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SHARD_BYTES = 15_000_000
_SHARDS = "weights.json"
# So that several processes fit on one GPU; before Keras is imported.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


@dataclass(frozen=True)
class Entry:
    """A run of the queue: of a protocol, or of a recipe file; and its minutes on the GPU."""

    minutes: float
    protocol: str | None = None
    run: str | None = None
    recipe: str | None = None

    def __post_init__(self):
        """Check that it is one of the two."""
        if (self.protocol is None) == (self.recipe is None) or bool(self.run) != bool(
            self.protocol
        ):
            raise ValueError(f"An entry must have `protocol` and `run`, or `recipe`: {self}")
        if not self.minutes > 0:
            raise ValueError(f"`minutes` must be positive: {self}")

    @property
    def name(self):
        """Name of its folders."""
        if self.recipe is not None:
            path = Path(self.recipe)
            return path.parent.name if path.stem == "recipe" else path.stem
        return f"{Path(self.protocol).stem}-{self.run}"

    def resolve(self):
        """Its recipe, and its protocol or None."""
        from keras_pdenets.experiments import Protocol
        from keras_pdenets.training import Recipe

        if self.recipe is not None:
            return Recipe.from_file(ROOT / self.recipe), None
        protocol = Protocol.from_file(ROOT / self.protocol)
        if self.run not in protocol.recipes:
            raise ValueError(f"{self.protocol} has no run {self.run}.")
        return protocol.recipes[self.run], protocol


def read_queue(path):
    """The entries of a queue in the order in which they are tried."""
    groups = json.loads(Path(path).read_text(encoding="utf-8"))
    entries = [
        entry
        for group in groups
        for entry in sorted((Entry(**row) for row in group["entries"]), key=lambda e: -e.minutes)
    ]
    names = [entry.name for entry in entries]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"{path} has {', '.join(sorted(twice))} twice.")
    return entries


def work(entries, out, minutes, data_dir=None, verbose="auto"):
    """Train what is missing and is expected to end in time; return the names of what is done."""
    from keras_pdenets.utils.locking import InUseError, locked

    begin, done = time.monotonic(), []
    for entry in entries:
        left = minutes - (time.monotonic() - begin) / 60
        if (out / "done" / entry.name).is_dir() or entry.minutes > left:
            continue
        try:
            with locked(out / "runs" / entry.name):
                if run_one(entry, out, left, data_dir, verbose):
                    done.append(entry.name)
        except InUseError:
            continue
    return done


def run_one(entry, out, left, data_dir=None, verbose="auto"):
    """Train a run to its end, measure it and put it into `done`; False where time was short."""
    from keras_pdenets.training import evaluate, train
    from keras_pdenets.training.trainer import LOG, RECIPE, WEIGHTS

    target = out / "done" / entry.name
    if target.is_dir():
        return False
    recipe, protocol = entry.resolve()
    folder = out / "runs" / entry.name
    history = train(recipe, folder, left, data_dir, verbose)
    if len(history) < recipe.epochs:
        return False
    if protocol is not None:
        protocol.measure(recipe, folder, history, data_dir)
    else:
        found = evaluate(
            recipe.checkpoint, folder / WEIGHTS, recipe.dataset, recipe.test_split, data_dir
        )
        (folder / "result.json").write_text(json.dumps(found), encoding="utf-8")
    part = target.with_name(f".{entry.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for name in ("result.json", LOG, RECIPE):
        shutil.copy(folder / name, part / name)
    write_shards(folder / WEIGHTS, part, recipe.checkpoint)
    part.rename(target)  # whole or not there
    return True


def write_shards(weights, folder, checkpoint):
    """Write the weights of a run in 16 bits, cut into files of at most `SHARD_BYTES`."""
    from keras_pdenets import load_weights, write_weights
    from keras_pdenets.training.models import build_model

    model = build_model(checkpoint)
    load_weights(model, weights)
    whole = folder / "whole.safetensors"
    write_weights(model, whole, checkpoint, float16=True)
    data = whole.read_bytes()
    whole.unlink()
    names = []
    for begin in range(0, len(data), SHARD_BYTES):
        names.append(f"weights.{len(names):03}")
        (folder / names[-1]).write_bytes(data[begin : begin + SHARD_BYTES])
    record = {"sha256": hashlib.sha256(data).hexdigest(), "shards": names}
    (folder / _SHARDS).write_text(json.dumps(record), encoding="utf-8")


def join(folder, path):
    """Put the shards of a finished run together into one weight file, if its hash is right."""
    from keras_pdenets.utils.atomic import write_file

    record = json.loads((folder / _SHARDS).read_text(encoding="utf-8"))
    data = b"".join((folder / name).read_bytes() for name in record["shards"])
    if hashlib.sha256(data).hexdigest() != record["sha256"]:
        raise ValueError(f"The shards in {folder} are damaged, or one is missing.")
    write_file(path, data)


def main(arguments=None):
    """Run the queue in one process or several, or join shards."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, help="stop by then")
    parser.add_argument("--out", type=Path, required=True, help="folder; with --join: weight file")
    parser.add_argument("--queue", type=Path, default=ROOT / "tuning" / "gpu_queue.json")
    parser.add_argument("--processes", type=int, default=1, help="at once on the GPU (1)")
    parser.add_argument("--data-dir", help="folder of TFDS, or of idx files")
    parser.add_argument("--join", type=Path, metavar="DONE", help="a folder of `done`")
    options = parser.parse_args(arguments)
    if options.join is not None:
        join(options.join, options.out)
        return 0
    if options.minutes is None or options.processes < 1:
        parser.error("--minutes must be given, and --processes be 1 or more")
    entries = read_queue(options.queue)
    options.out.mkdir(parents=True, exist_ok=True)
    others = []
    if options.processes > 1:
        command = [sys.executable, __file__, "--minutes", str(options.minutes), "--processes", "1"]
        command += ["--out", str(options.out), "--queue", str(options.queue)]
        command += ["--data-dir", options.data_dir] if options.data_dir else []
        others = [subprocess.Popen(command) for _ in range(options.processes - 1)]
    done = work(entries, options.out, options.minutes, options.data_dir, verbose=2)
    failed = sum(process.wait() != 0 for process in others)
    left = [e.name for e in entries if not (options.out / "done" / e.name).is_dir()]
    print(f"Done here: {', '.join(done) or 'none'}. Left: {', '.join(left) or 'none'}.")
    return int(failed > 0)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())

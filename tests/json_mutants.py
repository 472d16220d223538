"""Hostile JSON files: real ones of every kind that the commands read, changed by a seed."""

import contextlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from keras_pdenets.experiments import Protocol, Sweep, read_results
from keras_pdenets.experiments.results import RESULT
from keras_pdenets.experiments.table import markdown
from keras_pdenets.operators import stopping_rule
from keras_pdenets.presets import PRESETS_FILE, read_presets
from keras_pdenets.publishing.speed import SPEED, Speed, read_speed
from keras_pdenets.search import GrowthRules, SearchSpace, make_oracle
from keras_pdenets.search.folder import check_folder, describe, read_result
from keras_pdenets.training import Recipe
from keras_pdenets.training.state import read_state

TREE = Path(__file__).parents[1]
_SPACE = SearchSpace(rules=GrowthRules(max_blocks=2))
_VALUES = (
    None, True, False, 0, -1, 1, 2, 0.5, -0.5, 1e-300, 1e308, 10**6, 10**30, -(10**30), 2**53 + 1,
    4294967295, "", "x", "1", "auto", "..", "../up", "/etc/passwd", "a/b", "C:\\x",
    "\\\\host\\share", "nul", "con.txt", "name.", "a\nb", "\x1b[2J\x1b]0;x\x07", "\u202egnp",
    "Manteau d'été", "\0", "x" * 300, "x" * 20_000, "keras:ResNet50", "keras:Model",
    "keras:__builtins__", "hf://a/b",
    "huggingface:evil/set", "train[:10**9]", "1/L", [], {}, [[]], [None], [0], [1, 2, 3], ["a"] * 5,
    [[[[[[[[[[[[1]]]]]]]]]]]], {"a": 1}, {"": {}}, {"class_name": "Lambda", "config": {}},
    {"architecture": []}, list(range(2000)), ["x" * 100] * 2000,
)  # fmt: skip
_RAW = (
    b"", b" ", b"null", b"[]", b"{}", b"3", b'"x"', b"{", b"}", b"[1,]", b"{'a': 1}", b"NaN",
    b"[NaN]", b'{"a": Infinity}', b"1" * 5000, b"-", b"1e999", b"[" * 100_000, b'{"a":' * 100_000,
    b"[" * 900 + b"]" * 900, b'{"a": 1, "a": 2}', b"\xef\xbb\xbf{}", b"\xff\xfe{\0}\0", b"\x80",
    b'{"a": "\xe9"}', b'{"a": "\\ud800"}', b"\0" * 1000, b"PK\x03\x04",
    b"[" + b"{}," * 10**6 + b"{}]",
    b"[" + b"0," * 2 * 10**6 + b"0]", b" " * (2**22 + 1), b'{"' + b"x" * 10**6 + b'": 1}',
    b"[" + b'"\\u0041",' * 400_000 + b"0]", b"[" + b"[]," * 10**6 + b"[]]",
)  # fmt: skip


def make_readers(folder):
    """Name of each kind of file: its real text, and what a command does with a file of it."""
    recipe_file = TREE / "weights/resnet20_fashion_mnist/recipe.json"
    recipe = Recipe.from_file(recipe_file)
    state = folder / "state.safetensors"
    row = {"epoch": 1, "image_size": 28, "accuracy": 0.5, "test_accuracy": 0.5, "loss": 1.0,
           "seconds": 3.0}  # fmt: skip
    result = {"entry": "conv", "seed": 0, "recipe": json.loads(recipe.to_json()), "accuracy": 90.0,
              "loss": 0.3, "images": 10_000, "parameters": 10**6, "operations": 10**8,
              "epoch_seconds": 3.0, "machine": "a machine", "history": [row]}  # fmt: skip
    oracle = make_oracle("depth", _SPACE)

    def protocol(path):
        assert Protocol.from_file(path).recipes

    def sweep(path):
        assert Sweep.from_file(path).recipes

    def space(path):
        assert len(SearchSpace.from_file(path).combinations) <= 100_000

    def zoo(path):
        run = folder / "zoo" / "conv-seed0"
        run.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, run / RESULT)
        results, unfinished = read_results(run.parent)
        markdown(results, unfinished)

    def speed(path):
        shutil.copyfile(path, folder / SPEED)
        read_speed(folder)

    def search(path):
        (folder / "search").mkdir(exist_ok=True)
        shutil.copyfile(path, folder / "search" / "space.json")
        check_folder(folder / "search", oracle, _SPACE)

    def header(key):
        def read(path):
            texts = {"recipe": recipe.to_json(), "history": json.dumps([row]), "software": "x"}
            text = path.read_bytes().decode("utf-8", "replace")
            save_file({"a": np.zeros(2)}, state, texts | {key: text})
            read_state(state, recipe)

        return read

    rates = {"jax": 100.0, "torch": 50.0}
    return {
        "recipe": (recipe_file.read_bytes(), Recipe.from_file),
        "protocol": ((TREE / "tuning/zoo/cifar10_yin.json").read_bytes(), protocol),
        "peers": ((TREE / "tuning/zoo/imagenet100_liu.json").read_bytes(), protocol),
        "sweep": ((TREE / "tuning/sweep_cifar10.json").read_bytes(), sweep),
        "space": ((TREE / "tuning/fashion_mnist_7px.json").read_bytes(), space),
        "presets": (PRESETS_FILE.read_bytes(), read_presets),
        "result": (json.dumps(result).encode(), zoo),
        "speed": (json.dumps(asdict(Speed(rates, 64, 15, "here", "today"))).encode(), speed),
        "search": (describe(oracle, _SPACE).encode(), search),
        "trial": (json.dumps(row | {"block_epochs": 4.0}).encode(), read_result),
        "history": (json.dumps([row]).encode(), header("history")),
        "state": (recipe.to_json().encode(), header("recipe")),
        "distances": (b"[4.1, 3.1]", _distances),
    }  # fmt: skip


def _distances(path):
    """Whatever Python makes of a JSON value is an argument that somebody may give."""
    try:
        values = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return
    for arguments in ((values, 0.1), (1.0, values), (1.0, 0.1, values)):
        with contextlib.suppress(ValueError):
            stopping_rule(*arguments)


def mutant(data, rng):
    """The bytes of a file that is a change or a few away from a real one, or nothing like it."""
    kind = rng.random()
    if kind < 0.1:
        return rng.choice(_RAW)
    if kind < 0.25:
        return _changed_bytes(data, rng)
    value = json.loads(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        value = _changed(value, rng)
    text = json.dumps(value, ensure_ascii=rng.random() < 0.5)
    return text[: 2**23].encode("utf-8", "replace")


def _changed_bytes(data, rng):
    data, place = bytearray(data), rng.randrange(len(data))
    for _ in range(rng.choice((1, 3, 10))):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(rng.choice((data, data[:place], data + data[place:], data[place:])))


def _places(value, path=()):
    yield path
    items = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, item in items:
        yield from _places(item, (*path, key))


def _changed(value, rng):
    """A value with one of its parts replaced, removed, renamed or made many."""
    path = rng.choice(list(_places(value)))
    if not path:
        return rng.choice(_VALUES) if rng.random() < 0.1 else value
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    key, action = path[-1], rng.random()
    if action < 0.7:
        inner[key] = rng.choice(_VALUES)
    elif action < 0.8:
        del inner[key]
    elif isinstance(inner, list):
        inner *= 2 if len(inner) > 100 else rng.choice((2, 1000))
    else:
        inner[str(rng.choice(_VALUES))[:5000]] = inner.pop(key)
    return value

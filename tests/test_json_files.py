"""JSON files from anywhere: the record, or a ValueError that names file, field, rule and value.

KERAS_PDENETS_JSON_MUTANTS=1000 reads so many hostile files, for a minute or two.
"""

import dataclasses
import json
import os
import random
import re
import resource
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from json_mutants import make_readers, mutant

from keras_pdenets import WeightsError
from keras_pdenets.cli import main
from keras_pdenets.experiments import Entry, Protocol, Sweep
from keras_pdenets.operators import stopping_rule
from keras_pdenets.presets import Checkpoint, read_presets
from keras_pdenets.search import GrowthRules, SearchSpace
from keras_pdenets.training import Recipe
from keras_pdenets.utils.json_files import MOST_BYTES, load_json
from keras_pdenets.utils.names import is_name
from keras_pdenets.utils.text import printable, shown

pytestmark = pytest.mark.once

TREE = Path(__file__).parents[1]
COUNT = int(os.environ.get("KERAS_PDENETS_JSON_MUTANTS", "130"))
RECIPE = json.loads((TREE / "weights/resnet20_fashion_mnist/recipe.json").read_bytes())
PROTOCOL = json.loads((TREE / "tuning/zoo/cifar10_yin.json").read_bytes())
SWEEP = json.loads((TREE / "tuning/sweep_mnist.json").read_bytes())
BAD_NAMES = (
    "", ".", "..", "../up", "a/b", "a\\b", "/a", "C:", ".git", "-x", "a..b", "name.", "a b", "a\n",
    "nul", "NUL.txt", "com1", "Lpt9.json", "x" * 97, "été", "a\x1b[2J", "\0", "~", "~root", None, 3,
)  # fmt: skip


def _written(tmp_path, value):
    path = tmp_path / "file.json"
    path.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
    return path


# Hostile files


def test_hostile_files_give_the_class_that_the_commands_catch(tmp_path, record_property):
    readers, classes, slowest = make_readers(tmp_path), {}, (0.0, "")
    path = tmp_path / "mutant.json"
    for data, read in readers.values():  # as they are, they are read
        path.write_bytes(data)
        read(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rng = random.Random(18)
    for index in range(COUNT):
        name = list(readers)[index % len(readers)]
        data, read = readers[name]
        path.write_bytes(mutant(data, rng))
        begin = time.process_time()
        try:
            read(path)
            found = "read"
        except (ValueError, WeightsError) as error:
            found = type(error).__name__
            text = str(error)
            assert len(text) < 3000, name
            assert text.isprintable() or name in ("history", "state"), (name, text)
        except Exception as error:
            raise AssertionError(f"{name}, number {index}: {type(error).__name__}") from error
        slowest = max(slowest, (time.process_time() - begin, f"{name} {index}"))
        classes[found] = classes.get(found, 0) + 1
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    record_property("hostile files", f"{classes}; slowest {slowest}; {more:.0f} MiB more")
    print(classes, slowest, f"{more:.0f} MiB more")  # noqa: T201
    assert slowest[0] < 20
    assert more < 500 or sys.platform != "linux"
    assert classes["read"] < COUNT / 2


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is not a JSON file"),
        (b"\xef\xbb\xbf{}", "is not a JSON file: Unexpected UTF-8 BOM"),
        (b'{"a": "\xe9"}', "is not a JSON file: not UTF-8"),
        (b'{"a": "\\ud800"}', "is not a JSON file: not UTF-8"),
        (b'{"a": 1, "a": 2}', "is not a JSON file: a duplicate key"),
        (b"[NaN]", "is not a JSON file: NaN is not a number"),
        (b"[" * 100_000, "is not a JSON file: nested too deep"),
        (b"1" * 5000, "is not a JSON file: Exceeds the limit"),
        (b" " * (MOST_BYTES + 1), "is longer than"),
    ],
)
def test_what_is_no_json(data, said, tmp_path):
    with pytest.raises(ValueError, match=rf"file\.json {said}"):
        load_json(_written(tmp_path, data))


def test_what_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="none"):
        load_json(tmp_path / "none.json")
    with pytest.raises(ValueError, match="is not a file"):
        load_json(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe is not a file"):
        load_json(tmp_path / "pipe")
    with pytest.raises(ValueError, match="cannot be read"):
        load_json(_written(tmp_path, {}) / "below")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epoch": 3}, "a recipe has no field epoch"),
        ({"seed": True}, "`seed` must be an integer"),
        ({"seed": -1}, "`seed` must be an integer >= 0"),
        ({"seed": 1.5}, r"`seed` must be an integer of at most .*Received: seed=1\.5"),
        ({"learning_rate": "0.1"}, "`learning_rate` must be a finite number"),
        ({"stages": "abc"}, "`stages` must be a list"),
        ({"stages": [3]}, "`stages` must be a record"),
        ({"stages": [{"epoch": 1}]}, "`stages` has no field epoch"),
        ({"stages": [{}]}, "`stages` needs the fields epochs"),
        ({"stages": [{"epochs": 10**30}]}, "`epochs` must be an integer of at most"),
        ({"stages": [{"epochs": 10**7}]}, "`stages.epochs` must be a positive integer of at most"),
        (
            {"stages": [{"epochs": 1, "image_size": 10**6}]},
            "`stages.image_size` must be a positive",
        ),
        ({"stages": [{"epochs": 1}] * 1001}, "`stages` must be 1000 at most"),
        ({"checkpoint": []}, "`checkpoint` must be a record"),
        ({"checkpoint": {"architecture": 3}}, "`checkpoint` needs the fields"),
        ({"flip": 1}, "`flip` must be true or false"),
        ({"crop": 10**6}, "`crop` must be an integer"),
        ({"jit_compile": "always"}, "`jit_compile` must be 'auto', true or false"),
        ({"dtype": "int8"}, "`dtype` must be one of float32"),
        ({"dataset": "someone:mnist"}, "`dataset` must be the name of a set"),
        ({"dataset": "../mnist"}, "`dataset` must be the name of a set"),
        ({"start": "../net.safetensors"}, "`start` must be a preset or the path"),
        ({"start": "\\\\host\\net.safetensors"}, "`start` must be a preset or the path"),
        ({"start": ""}, "`start` must be a preset or the path"),
    ],
)
def test_a_field_of_a_recipe_is_named(change, said, tmp_path):
    with pytest.raises(ValueError, match=rf"file\.json is not a recipe: {said}"):
        Recipe.from_file(_written(tmp_path, RECIPE | change))


@pytest.mark.parametrize(
    "options",
    [
        {"filters": [10**6, 1, 1]}, {"operator_options": {"initializer": {"class_name": "x"}}},
        {"initializer": {}}, {"num_blocks": "many"}, {"num_blocks": [1, [2], 3]}, {"colour": 1},
        {"operator": "x" * 300}, {"operator_options": 3}, {"stochastic_depth": "x"},
    ],
)  # fmt: skip
def test_options_are_numbers_and_words(options, tmp_path):
    checkpoint = RECIPE["checkpoint"] | {"options": options}
    with pytest.raises(ValueError, match=r"`[\w.]+` (of PreActResNet20 )?must"):
        Recipe.from_file(_written(tmp_path, RECIPE | {"checkpoint": checkpoint}))


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Protocol, PROTOCOL | {"seeds": [0, True]}), (Protocol, PROTOCOL | {"seeds": [-1]}),
        (Protocol, PROTOCOL | {"seeds": [*range(10_000)]}), (Protocol, PROTOCOL | {"seeds": "01"}),
        (Protocol, PROTOCOL | {"entries": {}}), (Protocol, PROTOCOL | {"entries": [1]}),
        (Protocol, PROTOCOL | {"recipe": []}), (Protocol, PROTOCOL | {"reference": 3}),
        (Protocol, PROTOCOL | {"recipe": PROTOCOL["recipe"] | {"checkpoint": "x"}}),
        (Sweep, SWEEP | {"depths": [10**30]}), (Sweep, SWEEP | {"depths": []}),
        (Sweep, SWEEP | {"depths": [2, 2]}), (Sweep, SWEEP | {"starts": []}),
        (Sweep, SWEEP | {"starts": ["../zero"]}), (Sweep, SWEEP | {"batch_sizes": [[1, 10**30]]}),
        (Sweep, SWEEP | {"split": 3}), (Sweep, SWEEP | {"recipe": "x"}),
        (SearchSpace, {"depths": "12"}), (SearchSpace, {"epochs": 10**30}),
        (SearchSpace, {"seed": -1}), (SearchSpace, {"widths": [10**9]}),
        (SearchSpace, {"operators": ["../conv"]}),
        (SearchSpace, {"rules": []}), (SearchSpace, {"rules": {"max_blocks": 10**9}}),
        (SearchSpace, {"rules": {"growth": "2"}}), (SearchSpace, {"filters": [0, 1, 2]}),
        (SearchSpace, {"widths": [1.0] * 400, "learning_rates": [1.0] * 400}),
        (SearchSpace, {"dtype": "float1"}), (SearchSpace, {"dataset": "a:b"}),
    ],
    ids=str,
)  # fmt: skip
def test_files_of_the_wrong_structure(kind, values, tmp_path):
    with pytest.raises(ValueError, match=r"file\.json is not a [\w ]+: .*(must|needs).*") as caught:
        kind.from_file(_written(tmp_path, values))
    assert len(str(caught.value)) < 2000


def test_numbers_of_numpy_are_numbers():
    recipe = Recipe(**RECIPE | {"seed": np.int64(3), "learning_rate": np.float32(0.5),
                                "flip": np.True_})  # fmt: skip
    assert json.loads(recipe.to_json())["seed"] == 3
    assert (recipe.learning_rate, recipe.flip) == (0.5, True)
    checkpoint = Checkpoint("preact_resnet20", np.array([28, 28, 1]).tolist(), np.int32(10))
    assert checkpoint.input_shape == (28, 28, 1)


@pytest.mark.parametrize("rows", [{}, [3], [{"name": "x"}]])
def test_a_table_of_presets_that_is_none(rows, tmp_path):
    with pytest.raises(ValueError, match=r"file\.json is not a table of presets"):
        read_presets(_written(tmp_path, rows))


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((1.0, 0.1, math_nan), "max_blocks")
        for math_nan in (float("nan"), 1.5, True, "5", 0, 10**30, None)
    ]
    + [((1.0, epsilon), "epsilon") for epsilon in (float("nan"), 0, "x", None, True, 10**400)]
    + [((value, 0.1), "d_scaled") for value in (float("inf"), -1, "4", None, 10**400, [1, "x"])],
)
def test_the_rule_names_what_is_no_number(arguments, name):
    with pytest.raises(ValueError, match=rf"`{name}` must be .*Received: {name}="):
        stopping_rule(*arguments)


@pytest.mark.parametrize(
    "change",
    [
        {"target": float("nan")}, {"max_cost": float("nan")}, {"growth": float("inf")},
        {"epsilons": (float("nan"),)}, {"repairs": 1.5}, {"largest": "x"}, {"start": (True,)},
    ],
)  # fmt: skip
def test_rules_of_growth_are_numbers(change):
    with pytest.raises(ValueError, match=f"`{next(iter(change))}` must"):
        GrowthRules(**change)


# Names


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_a_name_from_a_file_stays_in_its_folder(name, tmp_path):
    assert not is_name(name)
    with pytest.raises(ValueError, match=r"`(preset|name)` must"):
        Recipe.from_file(_written(tmp_path, RECIPE | {"preset": name}))
    with pytest.raises(ValueError, match=r"`name` must"):
        Entry(name, "preact_resnet20")
    sweep = SWEEP | {"recipe": SWEEP["recipe"] | {"preset": name}}
    with pytest.raises(ValueError, match=r"`preset` must"):
        Sweep.from_file(_written(tmp_path, sweep))


def test_names_of_runs_differ_on_every_file_system(tmp_path):
    protocol = Protocol(**PROTOCOL | {"seeds": [0, 1, 2]})
    assert len({name.casefold() for name in protocol.recipes}) == len(protocol.recipes)
    assert all(map(is_name, protocol.recipes))
    with pytest.raises(ValueError, match="`name` must match"):
        Entry("Conv", "preact_resnet20")
    with pytest.raises(ValueError, match="`preset` must be a plain name"):  # with what is added
        Sweep.from_file(
            _written(tmp_path, SWEEP | {"recipe": SWEEP["recipe"] | {"preset": "x" * 95}})
        )


def test_nothing_from_a_file_steers_the_terminal(tmp_path, capsys):
    evil = "\x1b[2J\x1b]0;owned\x07\n\r\u202e"
    for change in ({evil: 1}, {"preset": evil}, {"dataset": evil}, {"optimizer": evil},
                   {"checkpoint": {evil: evil}}):  # fmt: skip
        path = _written(tmp_path, RECIPE | change)
        assert main(["train", "--recipe", str(path), "--out", "never"]) == 1
        said = capsys.readouterr()
        assert not said.out
        assert said.err.rstrip("\n").isprintable(), said.err
    assert not Path("never").exists()


def test_texts_are_made_printable():
    assert printable("Manteau d'été\x1b[2J\n\u202e\ud800") == (
        "Manteau d'été\\x1b[2J\\n\\u202e\\ud800"
    )
    assert printable("x" * 100, 10) == "x" * 10 + "..."
    for value in ("x" * 10**6, [0] * 10**6, {"a": "\x1b" * 1000}, 10**400, -(10**5000)):
        assert len(shown(value)) < 1000
        assert shown(value).isprintable()
    assert re.fullmatch("a number of [0-9]+ bits", shown(10**5000))


def test_a_state_that_is_damaged_says_what_to_do(tmp_path):
    from keras_pdenets.training.state import read_state, write_state

    recipe = Recipe(**RECIPE)
    path = tmp_path / "state.safetensors"
    row = {"loss": float("nan"), "seconds": 1.0}
    write_state(path, {"a": np.zeros(100)}, [row], recipe)
    assert read_state(path, recipe)[1][0]["seconds"] == 1.0
    whole = path.read_bytes()
    said = r"state\.safetensors is not a whole training state .*remove it to start the run again"
    for data in (b"", whole[:50], whole[:-1], whole.replace(b"history", b"hystory"), b"\xff" * 200):
        path.write_bytes(data)
        with pytest.raises(WeightsError, match=said):
            read_state(path, recipe)
    path.write_bytes(whole)
    with pytest.raises(WeightsError, match="was started with another recipe"):
        read_state(path, dataclasses.replace(recipe, seed=5))

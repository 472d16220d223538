"""First contact: import, the command line, the names, and what is said where something is missing.

Nothing here depends on the backend.
"""

import argparse
import inspect
import io
import os
import re
import shlex
import subprocess
import sys
import threading
from importlib import metadata
from pathlib import Path

import pytest

import keras_pdenets
from keras_pdenets import cli, presets
from keras_pdenets.benchmark.suites import SUITES
from keras_pdenets.cli import arguments
from keras_pdenets.cli.waiting import waited, waiting
from keras_pdenets.export.formats import FORMATS
from keras_pdenets.search.choose import ORACLES
from keras_pdenets.transforms.conversion.targets import OPERATORS
from keras_pdenets.transforms.fold import DECOMPOSED
from keras_pdenets.utils import backends

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[1]


def _parsers(parser=None, words=()):
    """Every parser of the command, with the words that lead to it."""
    parser = parser or cli.make_parser()
    yield words, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield from _parsers(inner, (*words, name))


PARSERS = dict(_parsers())
COMMANDS = {words: parser for words, parser in PARSERS.items() if parser.get_default("run")}


def _python(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip


def test_help_and_version_load_no_keras(tmp_path):
    script = tmp_path / "keras-pdenets"  # as pip writes it
    script.write_text(
        "import atexit, sys\n"
        "from keras_pdenets.cli import main\n"
        "atexit.register(lambda: print('loaded', *sorted(sys.modules)))\n"
        "for words in eval(sys.argv[2]):\n"
        "    try:\n"
        "        main([*words, '--help'])\n"
        "    except SystemExit as end:\n"
        "        assert end.code in (0, None)\n"
        "sys.exit(main(sys.argv[1:2]))\n"
    )
    run = _python(str(script), "--version", repr(list(PARSERS)))
    assert run.returncode == 0, run.stderr
    assert f"keras-pdenets {keras_pdenets.__version__}\n" in run.stdout
    loaded = set(run.stdout.rpartition("loaded ")[2].split())
    assert "keras_pdenets.cli.experiments" in loaded
    assert not loaded & {"keras", "tensorflow", "jax", "torch", "numpy"}
    for words in PARSERS:
        assert f"usage: {' '.join(('keras-pdenets', *words))}" in run.stdout


def test_the_list_of_commands_is_short_and_the_rest_is_below_dev():
    listed = re.findall(r"^    (\w+) ", PARSERS[()].format_help(), re.M)
    assert listed == [name for name in arguments.MAIN if name in listed]
    assert len(listed) >= 8
    assert {words[0] for words in COMMANDS} == {*listed, "dev"}
    assert "`keras-pdenets dev --help`" in " ".join(PARSERS[()].format_help().split())


@pytest.mark.parametrize(
    ("line", "some", "never"),
    [
        ("keras-pdenets ex", {"export "}, "evaluate "),
        ("keras-pdenets dev ", {"zoo", "benchmark", "pin"}, "train"),
        ("keras-pdenets export --format o", {"onnx", "openvino"}, "litert"),
        ("keras-pdenets evaluate --preset pde_", {"pde_resnet20_fashion_mnist"},
         "resnet20_fashion_mnist"),
    ],
)  # fmt: skip
def test_the_shell_completes(line, some, never, tmp_path):
    answer = tmp_path / "answer"
    run = _python(
        "-m", "keras_pdenets.cli", _ARGCOMPLETE="1", COMP_LINE=line, COMP_POINT=str(len(line)),
        _ARGCOMPLETE_STDOUT_FILENAME=str(answer), _ARGCOMPLETE_IFS="\n",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    found = set(answer.read_text().split("\n"))
    assert some <= found
    assert never not in found


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_silent_command_says_what_it_does(monkeypatch):
    for stream in (io.StringIO(), _Terminal()):
        monkeypatch.setattr(sys, "stderr", stream)
        said = threading.Event()
        monkeypatch.setattr(stream, "flush", said.set)
        with waiting("Counting", after=0):
            assert said.wait(60)
        line = stream.getvalue()
        assert line == "Counting ...\n" or re.fullmatch(r"\rCounting \.\.\. \d+ s\r +\r", line)
        with waiting("Nothing", after=60):
            pass
        assert list(waited("Nothing", range(3))) == [0, 1, 2]
        assert stream.getvalue() == line


def test_the_version_is_that_of_the_metadata():
    assert keras_pdenets.__version__ == metadata.version("keras-pdenets")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_shows_an_example_that_it_takes(words):
    example = COMMANDS[words].epilog.removeprefix("Example:\n  ")
    found = shlex.split(example)
    assert tuple(found[: len(words) + 1]) == ("keras-pdenets", *words)
    options = cli.make_parser().parse_args(found[1:])
    assert options.run is COMMANDS[words].get_default("run")
    for name in options.reads:  # of files that are in the repository
        path = getattr(options, name)
        assert path is None or path.parts[0] == "runs" or (ROOT / path).exists()


def test_choices_are_those_of_the_tables():
    assert set(arguments.FORMATS) == set(FORMATS)
    assert set(arguments.ORACLES) == set(ORACLES)
    assert set(arguments.SUITES) == set(SUITES)
    assert set(arguments.DECOMPOSED) == set(DECOMPOSED)
    assert arguments.OPERATORS == OPERATORS
    assert {suite.mode for suite in SUITES.values()} == set(arguments.MODES)
    text = PARSERS[("export",)].format_help()
    assert "{tf_saved_model,onnx,litert,openvino,torch}" in text


def _files(parser):
    """The options of a command that name files which it reads."""
    actions = {action.dest: action for action in parser._actions}
    return [actions[name] for name in parser.get_default("reads")]


@pytest.mark.parametrize("words", [w for w in COMMANDS if _files(COMMANDS[w])], ids=" ".join)
def test_a_missing_file_is_named(words, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    required = {"export": ["--format", "onnx", "--out", "o"], "pin": ["--hardware", "h"],
                "finetune": ["resnet20_fashion_mnist", "--out", "o"], "demo": ["--out", "o"],
                "convert": ["--data", str(tmp_path), "--out", "o"]}  # fmt: skip
    for action in _files(COMMANDS[words]):
        others = [str(tmp_path) for other in _files(COMMANDS[words])
                  if not other.option_strings and other is not action]  # fmt: skip
        given = [f"{''.join(action.option_strings[:1])}=~/nofile.json".lstrip("=")]
        assert cli.main([*words, *required.get(words[-1], []), *others, *given]) == 1
        error = capsys.readouterr().err
        assert f"`{action.dest}` must be a file or folder that exists" in error
        assert str(tmp_path / "nofile.json") in error
        assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train --preset x --limit-minutes nan", "--limit-minutes: must be a number above 0"),
        ("train --recipe=", "--recipe: must not be empty"),
        ("search tuning/fashion_mnist_7px.json --workers -1", "--workers: must be an integer of 0"),
        ("dev sweep s.json --steps 0", "--steps: must be an integer of 1 or more. Received: 0"),
        ("dev speed all --rounds 1e400", "--rounds: must be an integer of 1 or more"),
        ("dev zoo dry-run p.json --batch 99999999999999999999", "--batch: must be an integer of 1"),
        ("export --preset x --format tflite --out o", "invalid choice: 'tflite' (choose from"),
        ("search s.json --oracle grids", "invalid choice: 'grids' (choose from"),
        ("verify x --tolerance inf", "--tolerance: must be a number above 0"),
    ],
)
def test_arguments_out_of_range_are_refused(command, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(command.split())
    assert message in capsys.readouterr().err


def test_presets_are_listed_by_pattern(capsys):
    assert cli.main(["dev", "presets", "PDE*"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == keras_pdenets.list_presets("pde*")
    assert cli.main(["dev", "presets", "nothing"]) == 1
    error = capsys.readouterr().err
    assert all(name in error for name in keras_pdenets.list_presets())


def test_an_unknown_preset_is_told_all_names_the_nearest_first():
    names = keras_pdenets.list_presets()
    assert len(names) == 7
    with pytest.raises(ValueError, match="nearest are pde_resnet20_fashion_mnist") as error:
        keras_pdenets.get_preset("pde_resnet20")
    assert all(name in str(error.value) for name in names)
    for hostile in (5, None, [], float("nan")):
        with pytest.raises(ValueError, match="`preset` must be one of 7 known names"):
            keras_pdenets.get_preset(hostile)


def test_names_are_listed_by_pattern():
    builders = [row.builder for row in presets.ARCHITECTURES.values()]
    assert keras_pdenets.list_models() == builders
    found = keras_pdenets.list_models("pde*")
    assert found == [name for name in builders if name.startswith("PDE")]
    assert len(found) == 9
    assert keras_pdenets.list_models("*RESNET50") == [
        "ResNet50", "PDEResNet50", "DecomposedResNet50", "HyperbolicResNet50"
    ]  # fmt: skip
    assert keras_pdenets.list_models("nothing") == keras_pdenets.list_presets("nothing") == []
    assert keras_pdenets.list_presets("*20*") == [
        "decomposed_resnet20_fashion_mnist", "pde_resnet20_fashion_mnist",
        "plain_net20_fashion_mnist", "refined_plain_net20_fashion_mnist", "resnet20_fashion_mnist",
    ]  # fmt: skip
    for function in (keras_pdenets.list_models, keras_pdenets.list_presets):
        with pytest.raises(ValueError, match="`pattern` must be a string such as 'pde.*received: pa"
                           .replace("received", "Received")):  # fmt: skip
            function(5)


def test_a_mistyped_argument_names_the_builder_and_the_nearest():
    for name, wrong, near in (
        ("ResNet18", "wieghts", "weights"),
        ("PDEPreActResNet20", "blocks", "num_blocks"),
        ("HyperbolicResNet56", "input_shapes", "input_shape"),
        ("VGG16", "qqq", None),
    ):
        message = rf"{name}\(\) has no argument '{wrong}'; the nearest is '{near or ''}"
        with pytest.raises(TypeError, match=message):
            getattr(keras_pdenets, name)(**{wrong: None})
    with pytest.raises(TypeError, match=r"ResNet18\(\): too many positional arguments; .*pooling"):
        keras_pdenets.ResNet18(*[None] * 9)
    with pytest.raises(
        TypeError, match=r"ResNet18\(\): multiple values for argument 'include_top'"
    ):
        keras_pdenets.ResNet18(True, include_top=True)
    assert "wieghts" not in inspect.signature(keras_pdenets.ResNet18).parameters


BLOCK = (
    "import importlib.abc, sys\n"
    "class Block(importlib.abc.MetaPathFinder):\n"
    "    def find_spec(self, name, *others):\n"
    "        if name in ('tensorflow', 'torch'):\n"
    "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
    "sys.meta_path.insert(0, Block())\n"
)


def test_a_missing_backend_is_explained_at_import():
    run = _python("-c", "import keras_pdenets", KERAS_BACKEND="tensorflwo")
    assert run.returncode == 1
    last = run.stderr.splitlines()[-1]
    assert last.startswith("ImportError: Keras' backend must be one of tensorflow, jax, torch")
    assert "the nearest is tensorflow. Received: 'tensorflwo'" in last
    assert 'pip install "keras-pdenets[torch]"' in last
    run = _python("-c", f"{BLOCK}import keras_pdenets", KERAS_BACKEND="tensorflow")
    assert run.returncode == 1
    last = run.stderr.splitlines()[-1]
    assert last.startswith("ImportError: Keras' backend tensorflow is not installed. Installed")
    assert "KERAS_BACKEND" in last


def test_a_missing_backend_is_explained_by_the_command():
    run = _python("-m", "keras_pdenets.cli", "dev", "presets", KERAS_BACKEND="troch")
    assert run.returncode == 1
    assert run.stderr.startswith("keras-pdenets: Keras' backend must be one of")
    assert "the nearest is torch" in run.stderr
    assert run.stderr.count("\n") == 1


def test_the_help_explains_the_backend(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    help = " ".join(cli.make_parser().format_help().split())
    assert "WARNING" not in help
    assert "KERAS_BACKEND" in help
    assert 'pip install "keras-pdenets[torch]"' in help
    monkeypatch.setattr(backends, "installed", lambda module: module == "torch")
    help = " ".join(cli.make_parser().format_help().split())
    assert "WARNING: Keras' backend jax is not installed. Installed here: torch." in help


@pytest.mark.parametrize("content", [None, "{}", "[1]", "broken", '{"backend": "jax"}'])
def test_the_backend_is_found_as_keras_does(content, monkeypatch, tmp_path):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    if content is not None:
        (tmp_path / "keras.json").write_text(content)
    assert backends.chosen_backend() == ("jax" if content and "jax" in content else "tensorflow")
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert backends.chosen_backend() == "torch"


@pytest.mark.slow
def test_the_command_registers_what_keras_must_know():
    # `keras-pdenets` registers after it has parsed; so does the first use of a public name.
    program = (
        "import sys; sys.orig_argv[1:] = sys.argv = ['/usr/bin/keras-pdenets']\n"
        "import keras_pdenets; assert 'keras' not in sys.modules\n"
        "keras_pdenets._register()\n"
        "import keras; print(keras.saving.get_registered_object('keras_pdenets>PDEConv2D'))"
    )
    run = _python("-c", program)
    assert "PDEConv2D" in run.stdout, run.stderr

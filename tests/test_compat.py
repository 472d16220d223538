"""Every private name of another library that the package reads, each in a test of its own."""

import ast
import inspect
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import BACKEND

import keras_pdenets
from keras_pdenets.compat import huggingface_hub as hub_client
from keras_pdenets.compat import keras as internals

keras_tuner = pytest.importorskip("keras_tuner")
tuner_internals = pytest.importorskip("keras_pdenets.compat.keras_tuner")


def _dense():
    x = keras.Input((3,))
    return keras.Model(x, keras.layers.Dense(2, name="dense")(x))


def test_layers_inside():
    names = [layer.name for layer in internals.layers_inside(_dense())]
    assert names[1:] == ["dense"]
    outer = keras.Sequential([keras.Input((3,)), _dense()])
    assert "dense" not in [layer.name for layer in internals.layers_inside(outer, deep=False)]
    assert "dense" in [layer.name for layer in internals.layers_inside(outer)]


def test_nodes_of():
    model = _dense()
    ((layer, args, kwargs, inputs, outputs),) = internals.nodes_of(model)
    assert layer.name == "dense"
    assert args == (model.inputs[0],)
    assert kwargs == {}
    assert (inputs[0], outputs[0]) == (model.inputs[0], model.outputs[0])


def test_takes_training():
    assert internals.takes_training(keras.layers.Dropout(0.5))
    assert not internals.takes_training(keras.layers.ReLU())
    # An attribute of another name would say so of no layer at all.
    assert hasattr(keras.layers.ReLU(), "_call_has_training_arg")


def test_own_trainable():
    model = _dense()
    assert internals.own_trainable(model) == []
    names = [variable.name for variable in internals.own_trainable(model.get_layer("dense"))]
    assert names == ["kernel", "bias"]


def test_standardized():
    (x,) = internals.standardized(_dense(), np.ones((2, 3), "float64"))
    assert keras.backend.standardize_dtype(x.dtype) == "float32"


def test_variables_as_they_are():
    variable = keras.Variable(np.float32(1) / 3)
    with internals.variables_as_they_are():
        assert keras.backend.standardize_dtype(variable.value.dtype) == "float32"
    layer = keras.layers.Dense(1, dtype="mixed_bfloat16")
    layer.build((None, 1))
    seen = []

    def call(x):
        with internals.variables_as_they_are():
            seen.append(keras.backend.standardize_dtype(layer.kernel.value.dtype))
        return x

    layer.call = call
    layer(np.ones((1, 1), "float32"))
    assert seen == ["float32"]


def test_learning_rate_of():
    optimizer = keras.optimizers.SGD(0.5)
    assert float(keras.ops.convert_to_numpy(internals.learning_rate_of(optimizer))) == 0.5
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 3)
    assert internals.learning_rate_of(keras.optimizers.SGD(schedule)) is schedule


def test_nonfinite_hook():
    calls = []

    class Hook(internals.NonFiniteHook):
        def on_nonfinite(self):
            calls.append(1)

    optimizer, variable = Hook(keras.optimizers.SGD(0.5)), keras.Variable([1.0])
    optimizer.build([variable])
    scale = float(keras.ops.convert_to_numpy(optimizer.dynamic_scale))
    gradient = keras.ops.convert_to_tensor([float("nan")])
    if BACKEND == "jax":
        values = [v.value for v in optimizer.variables]
        optimizer.stateless_apply(values, [gradient], [variable.value])
    else:
        optimizer.apply([gradient])
    assert calls
    assert float(keras.ops.convert_to_numpy(optimizer.dynamic_scale)) == scale


def test_link(tmp_path):
    blob, path = tmp_path / "blob", tmp_path / "place"
    blob.write_text("bytes")
    hub_client.link(blob, path, is_new=True)
    assert path.read_text() == "bytes"


def test_register_presets():
    pytest.importorskip("keras_hub")
    from keras_pdenets.compat.keras_hub import register_presets

    assert list(inspect.signature(register_presets).parameters) == ["presets", "backbone_cls"]


@pytest.fixture
def tuner(tmp_path):
    oracle = keras_tuner.oracles.RandomSearchOracle(
        keras_tuner.Objective("loss", "min"), max_trials=3
    )

    class Tuner(tuner_internals.TunerHooks, keras_tuner.Tuner):
        pass

    return Tuner(oracle, lambda hp: _compiled(hp), directory=tmp_path, project_name="search")


def _compiled(hp):
    hp.Float("rate", 0.1, 0.2)
    model = _dense()
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize(
    ("hooks", "name", "kind"),
    [
        (hooks, name, kind)
        for hooks, kind in (
            (tuner_internals.OracleHooks, keras_tuner.Oracle),
            (tuner_internals.TunerHooks, keras_tuner.Tuner),
            (internals.NonFiniteHook, keras.optimizers.LossScaleOptimizer),
        )
        for name in vars(hooks)
        if name.startswith("_") and not name.startswith("__")
    ],
)
def test_hooks_take_the_place_of_methods_that_exist(hooks, name, kind):
    wanted, found = (inspect.signature(getattr(x, name)).parameters for x in (kind, hooks))
    assert list(found) == list(wanted)
    # And the library calls it.
    assert f"self.{name}" in "".join(map(inspect.getsource, kind.__mro__[:-1]))


def test_paths(tuner):
    folder = Path(tuner.project_dir)
    assert tuner_internals.oracle_file(tuner.oracle) == folder / "oracle.json"
    assert tuner_internals.trial_folder(tuner.oracle, "7") == folder / "trial_7"
    assert tuner_internals.tuner_file(tuner) == folder / "tuner0.json"
    assert Path(tuner_internals.checkpoint_file(tuner, "7")).parent == folder / "trial_7"


def test_is_worker(tuner):
    assert tuner_internals.is_worker(tuner) is False


def test_build_model(tuner):
    hyperparameters = keras_tuner.HyperParameters()
    assert isinstance(tuner_internals.build_model(tuner, hyperparameters), keras.Model)


def test_run_again(tuner):
    trial = tuner.oracle.create_trial("tuner0")
    tuner.oracle.ongoing_trials.clear()
    tuner_internals.run_again(tuner.oracle, [trial.trial_id])
    assert tuner.oracle.create_trial("tuner0").trial_id == trial.trial_id


def test_draw_often():
    oracle = keras_tuner.oracles.RandomSearchOracle(keras_tuner.Objective("loss", "min"))
    before = set(vars(oracle))
    tuner_internals.draw_often(oracle, 777)
    assert set(vars(oracle)) == before, "it is another attribute that counts the draws"


def test_first_round_sizes():
    oracle = keras_tuner.oracles.HyperbandOracle(keras_tuner.Objective("loss", "min"), max_epochs=9)
    assert tuner_internals.first_round_sizes(oracle) == [3, 5, 9]


def test_lock_freed(tuner):
    class Failing(keras_tuner.oracles.RandomSearchOracle):
        def populate_space(self, trial_id):
            raise ArithmeticError

    oracle = Failing(keras_tuner.Objective("loss", "min"))
    oracle._set_project_dir(tuner.project_dir, "failing")
    for _ in range(2):  # a lock that is held would hold the second for ever
        with pytest.raises(ArithmeticError), tuner_internals.lock_freed(oracle):
            oracle.create_trial("tuner0")


_DOCUMENTED = {"_exit"}  # of `os`


def test_nothing_else_reads_private_names():
    root = Path(keras_pdenets.__file__).parent
    own = set()
    found = []
    for path in sorted(root.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                own.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                own.add(node.attr)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                own.add(node.id)
            elif isinstance(node, ast.Attribute) and node.attr.startswith("_"):
                found.append((path, node.lineno, node.attr))
            elif isinstance(node, ast.ImportFrom):
                parts = (node.module or "").split(".")
                private = "src" in parts or any(name.name.startswith("_") for name in node.names)
                found += [(path, node.lineno, "src")] if private else []
    strange = [
        f"{path.relative_to(root)}:{line} {name}"
        for path, line, name in found
        if path.parent.name != "compat"
        and not name.startswith("__")
        and name not in own | _DOCUMENTED
    ]
    assert strange == [], "what has no public name stands in keras_pdenets/compat"

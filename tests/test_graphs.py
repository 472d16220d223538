"""The graph of a model: run, cut, made again; and the names of blocks."""

import keras
import numpy as np
import pytest
from conftest import build, fill
from keras import layers

from keras_pdenets.graphs.graph import read_graph
from keras_pdenets.graphs.names import blocks_of, parse

RNG = np.random.default_rng(0)


def _net():
    """Two inputs, a shared layer, a layer of two outputs, a constant among the arguments."""
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    shared = layers.Dense(4, activation="tanh", name="shared")
    x, y = shared(a), shared(b)
    first, second = keras.ops.split(layers.Concatenate(name="both")([x, y]), 2, axis=-1)
    total = layers.Add(name="total")([first, x])
    return keras.Model({"a": a, "b": b}, {"sum": total * np.float32(2), "rest": second})


def _data(rows=3):
    return {key: RNG.normal(size=(rows, 4)).astype("float32") for key in "ab"}


def _same(found, wanted):
    keras.tree.map_structure(
        lambda x, y: np.testing.assert_allclose(
            keras.ops.convert_to_numpy(x), keras.ops.convert_to_numpy(y), rtol=1e-6
        ),
        found,
        wanted,
    )


def test_calls_come_in_order_and_give_what_the_model_gives():
    model, data = _net(), _data()
    graph = read_graph(model)
    made = {id(t) for t in model.inputs}
    for call in graph.calls:
        assert made.issuperset(map(id, call.inputs))
        made.update(map(id, call.outputs))
    assert [call.layer.name for call in graph.calls].count("shared") == 2
    _same(graph(data), model(data))


def test_a_model_that_shares_layers_with_others_has_its_own_calls_alone():
    model = _net()
    other = keras.Input((4,))
    keras.Model(other, model.get_layer("shared")(other))
    assert len(read_graph(model).calls) == len(read_graph(_net()).calls)


def test_values_are_replaced_and_freed():
    model, data, seen = _net(), _data(), []
    graph = read_graph(model)
    values = {id(t): data[t.name] for t in model.inputs}
    total = model.get_layer("total").output

    def change(value, known):
        seen.append(len(known))
        return 0 * value

    (zero,) = graph.run(values, [model.output["sum"]], {id(total): change})
    assert not keras.ops.convert_to_numpy(zero).any()
    # The sum's two terms and the other half: neither the inputs nor what was split.
    assert seen == [3]


def test_a_part_begins_with_what_is_read_from_elsewhere():
    model, data = _net(), _data()
    graph = read_graph(model)
    both, total = (model.get_layer(name).output for name in ("both", "total"))
    part = graph.between(both, total, "part")
    assert part.name == "part"
    start, side = part.inputs
    assert start is both
    values = {id(t): data[t.name] for t in model.inputs}
    *given, wanted = graph.run(values, [start, side, total])
    _same(part(*given), wanted)
    assert not graph.between(total, both).calls
    whole = graph.part(graph.calls)
    assert {id(t) for t in whole.inputs} == {id(t) for t in model.inputs}
    assert {id(t) for t in whole.outputs} == {id(t) for t in model.outputs}


def test_a_model_is_made_again():
    model, data = _net(), _data()
    nodes = len(read_graph(model).calls)
    again = read_graph(model).rebuild(lambda call, args, kwargs: call.layer(*args, **kwargs))
    assert (again.name, list(again.input)) == (model.name, ["a", "b"])
    _same(again(data), model(data))
    assert len(read_graph(model).calls) == nodes
    halved = read_graph(model).rebuild(
        lambda call, args, kwargs: call.layer(*args, **kwargs), finish=lambda value: value / 2
    )
    _same(keras.tree.map_structure(lambda x: 2 * x, halved(data)), model(data))


def test_sequential_models_have_graphs_and_subclasses_have_none():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2), layers.ReLU()])
    x = np.ones((2, 3), "float32")
    _same(read_graph(model)(x), model(x))

    class Own(keras.Model):
        def call(self, x):
            return x

    for wrong in (Own(), keras.Sequential([layers.Dense(2)])):
        with pytest.raises(ValueError, match="functional or sequential"):
            read_graph(wrong)


@pytest.mark.parametrize(
    ("name", "wanted", "block"),
    [
        ("stage0_block1_conv1", (0, 1, "conv1"), "stage0_block1"),
        ("stage12_block10_conv1/kernel", (12, 10, "conv1/kernel"), "stage12_block10"),
        ("stage1_transition_conv", (1, None, "transition_conv"), ""),
        ("stage1_layer0_conv", (1, None, "layer0_conv"), ""),
    ],
)
def test_names_tell_of_places(name, wanted, block):
    assert parse(name) == wanted
    assert parse(name).block_name == block


@pytest.mark.parametrize("name", ["stem_conv", "stage0", "my_stage0_block1_conv", "stage_block_x"])
def test_other_names_tell_nothing(name):
    assert parse(name) is None


def test_blocks_of_a_net():
    model = fill(build("preact_resnet20", config={"num_blocks": (1, 2, 1), "filters": (4, 4, 4)}))
    blocks = blocks_of(model)
    assert [(b.stage, b.number) for b in blocks] == [(0, 0), (1, 0), (1, 1), (2, 0)]
    assert blocks[2].name == "stage1_block1"
    assert blocks[2].parts["add"] is model.get_layer("stage1_block1_add")

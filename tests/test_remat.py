"""Blocks that are computed twice: the same model, state and gradients."""

import keras
import numpy as np
import pytest
from conftest import BACKEND, build, fill

import keras_pdenets
from keras_pdenets.builders.remat import RematModel

SMALL = {"num_blocks": (2, 1), "filters": (4, 8)}
FAMILIES = (
    ("pde_preact_resnet20", {**SMALL, "step_size": "1/L"}),
    ("resnet50", {**SMALL, "stem": "cifar"}),
    ("hyperbolic_resnet20", SMALL),
)


def _pair(name, config, **options):
    pair = [build(name, config={**config, "remat": on}, **options) for on in (False, True)]
    return [fill(model) for model in pair]


def _trained(model, images):
    """Loss and variables after a step."""
    model.compile(
        keras.optimizers.SGD(0.1),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=BACKEND == "jax",
    )
    labels = np.arange(len(images)) % 10
    fitted = model.fit(images, labels, shuffle=False, verbose=0)
    return fitted.history["loss"], [keras.ops.convert_to_numpy(v) for v in model.variables]


# JAX compiles every step: ten seconds a net.
@pytest.mark.parametrize(("name", "config"), FAMILIES if BACKEND != "jax" else FAMILIES[:1])
def test_nothing_but_the_memory_changes(name, config, images):
    plain, twice = _pair(name, config)
    assert isinstance(twice, RematModel)
    assert twice.blocks == ["stage0_block0", "stage0_block1", "stage1_block0"]
    assert [v.path for v in twice.variables] == [v.path for v in plain.variables]
    assert [layer.name for layer in twice.layers] == [layer.name for layer in plain.layers]
    outputs = [model.predict(images, verbose=0) for model in (plain, twice)]
    np.testing.assert_allclose(outputs[1], outputs[0], atol=1e-6)
    # The step shows the gradients, and the averages of batch norm show that they moved once.
    (loss, values), (other_loss, other_values) = (_trained(m, images) for m in (plain, twice))
    assert other_loss == pytest.approx(loss, abs=1e-5)
    for value, other in zip(values, other_values, strict=True):
        np.testing.assert_allclose(other, value, atol=1e-5, rtol=1e-5)


def test_half_precision(images):
    losses = [
        _trained(m, images)[0] for m in _pair("preact_resnet20", SMALL, dtype="mixed_float16")
    ]
    assert losses[1] == pytest.approx(losses[0], abs=1e-3)


def test_blocks_keep_their_precision_under_a_mixed_global_policy(images):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        pair = _pair("preact_resnet20", SMALL, dtype="float32")
    finally:
        keras.config.set_dtype_policy("float32")
    losses = [_trained(model, images)[0] for model in pair]
    assert losses[1] == pytest.approx(losses[0], abs=1e-6)


@pytest.mark.slow
def test_a_saved_model_is_of_the_same_kind(images, tmp_path):
    model = fill(build("preact_resnet20", config={**SMALL, "remat": True}))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, RematModel)
    assert loaded.blocks == model.blocks
    np.testing.assert_allclose(
        loaded.predict(images, verbose=0), model.predict(images, verbose=0), atol=1e-6
    )
    # On these tensors any model can be built, and it is an ordinary one.
    assert type(keras.Model(model.inputs, model.outputs)) is not RematModel


def test_checkpoints_do_not_ask_for_it():
    name = "resnet20_fashion_mnist"
    model = keras_pdenets.PreActResNet20(weights=name, remat=True)
    assert isinstance(model, RematModel)
    assert model.load_report


def test_errors():
    with pytest.raises(ValueError, match="`remat` must be True or False"):
        build("preact_resnet20", config={**SMALL, "remat": 1})

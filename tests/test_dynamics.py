"""Residual blocks as steps of a differential equation: schemes and options."""

import keras
import numpy as np
import pytest
from conftest import BACKEND, build, fill
from keras import ops

import keras_pdenets
from keras_pdenets.analysis import find_blocks
from keras_pdenets.applications.building import _checkpoint_for
from keras_pdenets.blocks.parts import Parts
from keras_pdenets.blocks.steps import BLOCK_SCHEMES, Step
from keras_pdenets.graphs.flattening import flatten
from keras_pdenets.hub.source import WeightsSource
from keras_pdenets.operators.flows import SCHEMES, Scheme
from keras_pdenets.presets import ARCHITECTURES
from keras_pdenets.transforms import fold

# The first forward derivative that torch takes makes torch itself complain.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
TINY = {"num_blocks": (2,), "filters": (4,)}
MATRIX = np.array([[-0.5, 2.0], [-1.0, -0.3]])


def _step_of(scheme, h):
    """Matrix of one step of x' = A x, out of the block's own layers."""

    def branch(parts, x):
        weights = keras.initializers.Constant(MATRIX.T)
        return keras.layers.Dense(2, use_bias=False, kernel_initializer=weights)(x)

    x = keras.Input((2,))
    y = Step(step_size=h, scheme=scheme).increment(Parts(), x, branch, "block")
    return keras.Model(x, x + y).predict(np.eye(2, dtype="float32"), verbose=0).T


@pytest.mark.parametrize(
    ("scheme", "order"), [("euler", 1), ("midpoint", 2), ("rk4", 4), ("backward_euler", 1)]
)
def test_order_of_convergence(scheme, order):
    exact = SCHEMES["exact"].step(MATRIX, 1.0)
    errors = []
    for steps in (2, 4):
        step = _step_of(scheme, 1 / steps)
        atol = 1e-6 if SCHEMES[scheme].explicit else 1e-5
        np.testing.assert_allclose(step, SCHEMES[scheme].step(MATRIX, 1 / steps), atol=atol)
        errors.append(np.abs(np.linalg.matrix_power(step.astype("float64"), steps) - exact).max())
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.5)


def test_tableaus_check_themselves():
    for name, scheme in SCHEMES.items():
        if not scheme.nodes:
            continue
        errors = []
        for steps in (10, 20):  # x' = -x^2 from 1: 1 / (1 + t)
            x = 1.0
            for _ in range(steps):
                k = total = 0.0
                for node, weight in zip((0.0, *scheme.nodes), scheme.weights, strict=True):
                    k = -((x + node * k / steps) ** 2)
                    total += weight * k
                x += total / steps
            errors.append(abs(x - 0.5))
        assert np.log2(errors[0] / errors[1]) == pytest.approx(scheme.order, abs=0.3), name
    with pytest.raises(ValueError, match=r"and 0[.]5 where order 1"):
        Scheme("wrong", 1, (0.5,), (0.0, 0.5))
    with pytest.raises(ValueError, match="`order` must be that of the coefficients"):
        Scheme("midpoint", 3, (0.5,), (0.0, 1.0))


def test_stochastic_depth(images):
    config = {**TINY, "num_blocks": (4,), "stochastic_depth": 0.4}
    model = fill(build("preact_resnet20", config=config))
    drops = [x for x in model.layers if isinstance(x, keras.layers.Dropout)]
    assert [x.rate for x in drops] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    x = keras.Input(drops[-1].input.shape[1:])
    same = np.ones((4000, *x.shape[1:]), "float32")
    y = ops.convert_to_numpy(keras.Model(x, drops[-1](x))(same, training=True))
    kept = y[:, 0, 0, 0]
    np.testing.assert_allclose(np.unique(kept), [0, 1 / 0.6], rtol=1e-6)
    np.testing.assert_array_equal(y, np.broadcast_to(kept[:, None, None, None], y.shape))
    assert kept.mean() == pytest.approx(1, abs=5 * np.sqrt(0.4 / 0.6 / 4000))
    # What is predicted is the net without it.
    plain = fill(build("preact_resnet20", config={**config, "stochastic_depth": 0.0}))
    predicted = [m.predict(images, verbose=0) for m in (model, plain)]
    np.testing.assert_allclose(*predicted, atol=1e-6)
    # A checkpoint does not ask for it.
    row = ARCHITECTURES["preact_resnet20"]
    file = WeightsSource.parse(row.preset).resolve()
    assert _checkpoint_for(row, file, {"stochastic_depth": 0.2}).architecture == row.name


OPTIONS = (
    ("preact_resnet20", {"scheme": "rk4", "step_size": "1/L"}),
    ("resnet18", {"scheme": "backward_euler", "step_size": 0.1, "stem": "cifar"}),
    ("pde_preact_resnet20", {"leak": 0.2, "stochastic_depth": 0.3}),
)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_options_train_and_come_back_from_a_file(name, options, images, tmp_path):
    keras.utils.set_random_seed(0)  # it must not skip the step of every example
    model = fill(build(name, side=8, config={**TINY, "num_blocks": (1,), **options}))
    images = images[:, :8, :8]
    model.compile(
        keras.optimizers.SGD(0.01),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=BACKEND == "jax",
    )
    before = [np.array(ops.convert_to_numpy(v)) for v in model.trainable_variables]
    assert np.isfinite(model.fit(images, np.arange(4), verbose=0).history["loss"]).all()
    after = [ops.convert_to_numpy(v) for v in model.trainable_variables]
    paths = [v.path for v in model.trainable_variables]
    triples = zip(paths, after, before, strict=True)
    still = [path for path, value, old in triples if np.array_equal(value, old)]
    assert set(still) <= {"stage0_block0_conv1/bias"}  # the head's batch norm takes it off again
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert [v.path for v in again.weights] == [v.path for v in model.weights]
    predicted = model.predict(images, verbose=0)
    np.testing.assert_allclose(again.predict(images, verbose=0), predicted, atol=1e-6)
    (block,) = find_blocks(flatten(model))
    assert (block.name, block.kind) == ("stage0_block0_add", "identity")
    folded, report = fold(model, data=images, portable=True)
    assert report.difference < 1e-5
    reasons = {"scheme": "BackwardEulerStep has no form", "leak": "ScaledResidual has no form"}
    if options.get("scheme") == "rk4":
        assert not report.left
        assert not any(type(x).__module__.startswith("keras_pdenets") for x in folded.layers)
    else:
        assert reasons[next(iter(options))] in report.left["stage0_block0_step"]


@pytest.mark.slow
@pytest.mark.skipif(BACKEND == "jax", reason="as in test_remat: ten seconds a net")
@pytest.mark.parametrize("config", [{"scheme": "midpoint"}, {"scheme": "backward_euler"}])
def test_blocks_can_be_computed_twice(config, images):
    """Shared layers, the masks of skipped blocks and implicit steps among them."""
    config = {**TINY, **config, "step_size": 0.1, "stochastic_depth": 0.9}
    trained = []
    for remat in (False, True):
        keras.utils.set_random_seed(0)
        model = fill(build("preact_resnet20", side=8, config={**config, "remat": remat}))
        model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
        model.fit(images[:, :8, :8], np.ones((4, 10)), verbose=0)
        trained.append([ops.convert_to_numpy(v) for v in model.weights])
    # An implicit step keeps nothing but its two ends as it is.
    assert len(model.blocks) == (2 if config["scheme"] == "midpoint" else 0)
    for value, other in zip(*trained, strict=True):
        np.testing.assert_allclose(other, value, atol=1e-5)


def test_names_and_weights_do_not_depend_on_an_explicit_scheme():
    paths = {
        scheme: [v.path for v in build("resnet18", config={**TINY, "scheme": scheme}).weights]
        for scheme in ("euler", "midpoint", "rk4")
    }
    assert sorted(paths["euler"]) == sorted(paths["midpoint"]) == sorted(paths["rk4"])
    with pytest.raises(ValueError, match="`scheme` must be 'euler', as the checkpoint was trained"):
        keras_pdenets.PreActResNet20(weights="resnet20_fashion_mnist", scheme="rk4")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scheme": "heun"}, "`scheme` must be one of euler, midpoint, rk4, backward_euler"),
        ({"scheme": "backward_euler"}, "needs zero_start=True, or a `step_size` of at most 1/3"),
        ({"leak": 1.0}, r"`leak` must be in \(0, 1\)"),
        ({"leak": "1/L"}, r"`leak` must be in \(0, 1\), '1/depth'"),
        ({"leak": 0.1, "scheme": "rk4"}, "`leak` must be None unless scheme='euler'"),
        ({"leak": 0.5, "stochastic_depth": 0.6}, "`leak` must not be above 1 - stochastic_depth"),
        ({"stochastic_depth": 1.0}, r"`stochastic_depth` must be in \[0, 1\)"),
        ({"step_size": 0.0}, "`step_size` must be a positive number"),
        ({"zero_start": 1}, "`zero_start` must be True or False"),
        (
            {"leak": 0.1, "operator_options": {"boundary": "reflect"}},
            r"stage0_block0_conv0 \(boundary='reflect' increases the norm\)",
        ),
        (
            {"leak": 0.1, "operator_options": {"degree": 1}},
            "its coefficients depend on the position",
        ),
    ],
)
def test_errors(options, message):
    assert BLOCK_SCHEMES == ("euler", "midpoint", "rk4", "backward_euler")
    with pytest.raises(ValueError, match=message):
        build("preact_resnet20", config={**TINY, **options})

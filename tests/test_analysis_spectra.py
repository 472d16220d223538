"""Gradients, Jacobians and receptive fields: nets whose derivatives are known by hand."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_pdenets.analysis import effective_receptive_field, gradient_norms, jacobian_spectrum
from keras_pdenets.layers import BackwardEulerStep
from keras_pdenets.operators.lanczos import leading_singular_values
from keras_pdenets.plots import plot_gradient_norms, plot_jacobian_spectrum, plot_receptive_field

RNG = np.random.default_rng(0)


def _weights(layer):
    """New weights, drawn at random, and what they are in 64 bits."""
    values = [RNG.normal(size=tuple(w.shape)) / w.shape[0] ** 0.5 for w in layer.weights]
    layer.set_weights([value.astype("float32") for value in values])
    return values


def _tanh_net(width=6, depth=3):
    """x -> x + W2 tanh(W1 x + b) three times, the last in a section of more channels."""
    inputs = x = keras.Input((width,))
    inner, outer, lift = [], [], None
    for index in range(depth):
        if index == depth - 1:
            lift = layers.Dense(width + 2, use_bias=False, name="lift")
            x = lift(x)
        inner.append(layers.Dense(4, activation="tanh"))
        outer.append(layers.Dense(x.shape[-1], use_bias=False))
        x = layers.Add(name=f"add{index}")([x, outer[-1](inner[-1](x))])
    return keras.Model(inputs, x), inner, outer, lift


def _jacobian(x, first, second):
    """Value and Jacobian of a block of `_tanh_net` at one x."""
    (w, b), (v,) = first, second
    bent = np.tanh(x @ w + b)
    return x + bent @ v, np.eye(len(x)) + v.T @ np.diag(1 - bent**2) @ w.T


def test_jacobians_are_those_by_hand(tmp_path):
    model, inner, outer, lift = _tanh_net()
    inner, outer, (lift,) = map(_weights, inner), map(_weights, outer), _weights(lift)
    pairs = list(zip(inner, outer, strict=True))
    images = RNG.normal(size=(4, 6)).astype("float32")
    wanted = np.zeros((3, 4, 4))
    section = np.zeros((2, 4, 4))
    for image, x in enumerate(images.astype("float64")):
        whole = np.eye(6)
        for block, pair in enumerate(pairs):
            if block == 2:
                x = x @ lift
                section[0, image] = np.linalg.svd(whole, compute_uv=False)[:4]
            x, jacobian = _jacobian(x, *pair)
            whole = jacobian @ whole if block < 2 else whole
            wanted[block, image] = np.linalg.svd(jacobian, compute_uv=False)[:4]
        section[1, image] = wanted[2, image]
    found = jacobian_spectrum(model, images, count=4, batch_size=2)
    assert found.names == ("add0", "add1", "add2")
    np.testing.assert_allclose(found.values, wanted, rtol=2e-5)
    sections = jacobian_spectrum(model, images, per="section", count=4, batch_size=2)
    assert sections.names == ("section 0", "section 1")
    np.testing.assert_allclose(sections.values, section, rtol=2e-5)
    # Fewer steps are too small, never too large.
    few = jacobian_spectrum(model, images, count=2, steps=2, batch_size=2)
    assert (few.values <= wanted[..., :2] * (1 + 2e-5)).all()
    assert "add1: " in str(found)
    plot_jacobian_spectrum({"tanh": found}, tmp_path / "jacobian.png")
    assert (tmp_path / "jacobian.png").stat().st_size > 1000


def test_jacobians_of_strided_blocks_are_no_squares():
    x = keras.Input((4, 4, 2))
    branches = [
        layers.Conv2D(3, size, strides=2, padding="same", name=f"conv{size}") for size in (1, 3)
    ]
    model = keras.Model(x, layers.ReLU()(layers.Add()([b(x) for b in branches])))
    for branch in branches:
        _weights(branch)
    image = RNG.normal(size=(1, 4, 4, 2)).astype("float32")
    # The net is linear where it stands: differences by a step of any small size are exact.
    step = 1e-3 * np.eye(32).reshape(32, 4, 4, 2)
    both = model.predict_on_batch(np.concatenate([image + step, image - step]).astype("float32"))
    dense = (both[:32] - both[32:]).reshape(32, -1) / 2e-3
    wanted = np.linalg.svd(dense, compute_uv=False)[:3]
    found = jacobian_spectrum(model, image, count=3).values[0, 0]
    np.testing.assert_allclose(found, wanted, rtol=2e-3)


@pytest.mark.parametrize(
    "matrix",
    [
        np.eye(7),  # one value seven times
        np.zeros((4, 5)),
        np.outer(np.arange(5.0), np.arange(3.0)),
        np.diag([5.0, 5, 3, 3, 0, 0]),
        RNG.normal(size=(8, 3)),
        RNG.normal(size=(3, 8)),
    ],
    ids=["identity", "zeros", "rank one", "pairs", "tall", "wide"],
)
def test_krylov_spaces_find_all_values_of_small_matrices(matrix):
    stack = np.stack([matrix, 2 * matrix]).astype("float32")

    def push(v):
        return np.einsum("nij,nj->ni", stack, v.astype("float32"))

    def pull(u):
        return np.einsum("nij,ni->nj", stack, u.astype("float32"))

    wanted = np.zeros(9)
    wanted[: min(matrix.shape)] = np.linalg.svd(matrix, compute_uv=False)
    found = leading_singular_values(push, pull, stack.shape, 9, 20, 0)
    np.testing.assert_allclose(found, [wanted, 2 * wanted], atol=2e-6 * max(wanted.max(), 1))


def _softmax_net(activation, dtype=None):
    """x -> x + A x -> relu(x + B x) -> W x + c, with softmax or not."""
    inputs = x = keras.Input((5,))
    dense = [layers.Dense(5, use_bias=False, dtype=dtype) for _ in range(2)]
    x = layers.Add(name="first")([x, dense[0](x)])
    x = layers.ReLU()(layers.Add(name="second")([x, dense[1](x)]))
    head = layers.Dense(3, activation=activation, dtype=dtype)
    return keras.Model(inputs, head(x)), [*dense, head]


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_gradients_are_those_in_closed_form(activation, tmp_path):
    model, made = _softmax_net(activation)
    (a,), (b,), (w, c) = map(_weights, made)
    w *= 5  # confident, and wrong at times
    made[-1].set_weights([w.astype("float32"), c.astype("float32")])
    images, labels = RNG.normal(size=(6, 5)).astype("float32"), RNG.integers(0, 3, 6)
    x = images.astype("float64")
    middle = x + x @ a
    before = middle + middle @ b
    behind = np.maximum(before, 0)
    logits = behind @ w + c
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    # d(-log p_y)/d logits = p - e_y, and back through the transposed matrices.
    last = (shares - np.eye(3)[labels]) @ w.T
    between = (last * (before > 0)) @ (np.eye(5) + b).T
    first = between @ (np.eye(5) + a).T
    norms = [np.linalg.norm(g, axis=1) for g in (first, between, last)]
    found = gradient_norms(model, images, labels, batch_size=3)
    assert found.blocks == ("first", "second")
    np.testing.assert_allclose(found.inputs, norms[:2], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.outputs, norms[1:], rtol=1e-4, atol=1e-6)
    losses = -np.log(shares[np.arange(6), labels])
    np.testing.assert_allclose(found.losses, losses, rtol=1e-4, atol=1e-6)
    forced = gradient_norms(model, images, labels, from_logits=activation is None)
    np.testing.assert_allclose(forced.outputs, found.outputs, rtol=1e-5, atol=1e-7)
    assert "first: input" in str(found)
    plot_gradient_norms({"net": found}, tmp_path / "gradient.png")
    assert (tmp_path / "gradient.png").stat().st_size > 1000


def test_improbable_labels_keep_their_gradient():
    # Keras' own loss cuts probabilities off at 1e-7, where the gradient would vanish.
    model, made = _softmax_net("softmax")
    made[0].set_weights([np.zeros((5, 5))])
    made[1].set_weights([np.zeros((5, 5))])
    made[2].set_weights([np.eye(5)[:, :3] * 40, np.zeros(3)])
    images = np.array([[1, 0, 0, 0, 0]], "float32")
    found = gradient_norms(model, images, np.array([1]))
    assert found.losses == pytest.approx([40], rel=1e-4)
    assert found.outputs[-1] == pytest.approx(40 * 2**0.5, rel=1e-4)
    made[2].set_weights([np.eye(5)[:, :3] * 400, np.zeros(3)])
    with pytest.raises(ValueError, match="a class has probability 0"):
        gradient_norms(model, images, np.array([1]))


def _stack(depth, strides=1, data_format="channels_last"):
    """3x3 convolutions of ones, with nothing in between."""
    side = 15
    shape = (side, side, 1) if data_format == "channels_last" else (1, side, side)
    inputs = x = keras.Input(shape)
    for index in range(depth):
        x = layers.Conv2D(
            1, 3, strides, padding="same", kernel_initializer="ones", name=f"conv{index}",
            data_format=data_format,
        )(x)  # fmt: skip
    return keras.Model(inputs, x), RNG.normal(size=(3, *shape)).astype("float32")


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_the_field_of_stacked_convolutions_is_their_convolution(depth, data_format):
    model, images = _stack(depth, data_format=data_format)
    field = effective_receptive_field(model, images, f"conv{depth - 1}", batch_size=2)
    line = np.ones(1)
    for _ in range(depth):
        line = np.convolve(line, np.ones(3))
    wanted = np.zeros((15, 15))
    wanted[7 - depth : 8 + depth, 7 - depth : 8 + depth] = np.outer(line, line)
    np.testing.assert_allclose(field.weights, wanted, rtol=1e-5)
    assert field.support == (2 * depth + 1, 2 * depth + 1)
    assert field.deviation == pytest.approx((np.sqrt(2 * depth / 3),) * 2, rel=1e-5)
    wide = (np.outer(line, line) >= 0.0455 * line.max() ** 2).sum()
    assert field.width == pytest.approx(np.sqrt(wide))


def test_the_field_of_any_kernels_has_its_exact_support_and_mean(tmp_path):
    model, images = _stack(3)
    for layer in model.layers[1:]:
        _weights(layer)
    field = effective_receptive_field(model, images, "conv2")
    assert field.support == (7, 7)
    inputs = keras.Input((9, 9, 2))
    bent = layers.Conv2D(4, 3, padding="same", activation="relu", name="bent")
    net = keras.Model(inputs, bent(inputs))
    kernel, bias = _weights(bent)
    images = RNG.normal(size=(6, 9, 9, 2)).astype("float32")
    patches = images[:, 3:6, 3:6].astype("float64")
    on = np.einsum("nijc,ijco->no", patches, kernel) + bias > 0
    wanted = np.abs(np.einsum("no,ijco->nijc", on, kernel)).sum(-1).mean(0)
    found = effective_receptive_field(net, images, "bent")
    np.testing.assert_allclose(found.weights[3:6, 3:6], wanted, rtol=1e-4)
    assert found.weights.sum() == pytest.approx(wanted.sum(), rel=1e-4)
    plot_receptive_field([field, found], tmp_path / "field.png", "fields")
    assert (tmp_path / "field.png").stat().st_size > 1000
    assert "in a field of 3 x 3" in str(found)


def test_half_precision_is_measured_in_single():
    model, made = _softmax_net("softmax", dtype="mixed_bfloat16")
    for layer in made:
        _weights(layer)
    images, labels = RNG.normal(size=(4, 5)).astype("float32"), np.array([0, 2, 1, 0])
    same, others = _softmax_net("softmax")
    for layer, other in zip(made, others, strict=True):
        other.set_weights(layer.get_weights())
    half, single = (gradient_norms(m, images, labels).outputs for m in (model, same))
    np.testing.assert_allclose(half, single, rtol=0.1, atol=0.02)
    assert np.abs(half - single).max() > 0
    half, single = (jacobian_spectrum(m, images, count=1).values for m in (model, same))
    np.testing.assert_allclose(half, single, rtol=0.05)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_implicit_steps_have_gradients_and_no_forward_derivatives():
    """d = h A (x + d) is the explicit residual d = (I - h A)^-1 h A x."""
    matrix, head = RNG.normal(size=(5, 5)) / 4, RNG.normal(size=(5, 3))
    inside = keras.Input((5,))
    branch = keras.Model(inside, layers.Dense(5, use_bias=False)(inside))
    steps = [BackwardEulerStep(branch, 0.5, 1e-6, name=f"step{index}") for index in range(2)]
    dense = layers.Dense(5, use_bias=False)
    last = layers.Dense(3, use_bias=False, activation="softmax")
    models = []
    for residuals in (steps, [dense, dense]):
        inputs = x = keras.Input((5,))
        for residual in residuals:
            x = layers.Add()([x, residual(x)])
        models.append(keras.Model(inputs, last(x)))
    branch.set_weights([matrix])
    explicit = 0.5 * matrix @ np.linalg.inv(np.eye(5) - 0.5 * matrix)
    dense.set_weights([explicit])
    last.set_weights([head])
    images, labels = RNG.normal(size=(4, 5)).astype("float32"), np.array([0, 2, 1, 0])
    implicit, wanted = (gradient_norms(m, images, labels).outputs for m in models)
    np.testing.assert_allclose(implicit, wanted, rtol=1e-4)
    with pytest.raises(ValueError, match=r"forward-mode.* Received: step0, step1"):
        jacobian_spectrum(models[0], images)


def test_what_is_wrong_is_said():
    model, made = _softmax_net(None)
    images, labels = np.zeros((4, 5), "float32"), np.arange(4) % 3
    plain = keras.Model(model.inputs, made[-1](model.inputs[0]))
    for call, match in (
        (lambda: gradient_norms(plain, images, labels), "`model` has no residual block"),
        (lambda: jacobian_spectrum(plain, images), "`model` has no residual block"),
        (lambda: gradient_norms(model, images[:0], labels[:0]), "`images` must hold at least one"),
        (lambda: gradient_norms(model, images[:, :4], labels), r"`images` must be of shape .*5\)"),
        (lambda: jacobian_spectrum(model, images + np.nan), "`images` must be finite"),
        (lambda: gradient_norms(model, images, labels + 1), r"`labels` must be in \[0, 3\)"),
        (lambda: gradient_norms(model, images, labels - 1), r"`labels` must be in \[0, 3\)"),
        (lambda: gradient_norms(model, images, labels[:3]), "`labels` must be 4 integers"),
        (lambda: gradient_norms(model, images, labels / 2), "`labels` must be 4 integers"),
        (lambda: jacobian_spectrum(model, images, per="layer"), "`per` must be"),
        (lambda: jacobian_spectrum(model, images, count=0), "`count` must be a positive integer"),
        (lambda: effective_receptive_field(model, images, "first"), "`layer` must give a batch"),
        (lambda: effective_receptive_field(model, images, "last"), "`layer` must be one of"),
    ):
        with pytest.raises(ValueError, match=match):
            call()
    stack, pictures = _stack(1)
    stack.layers[-1].set_weights([np.zeros((3, 3, 1, 1)), np.zeros(1)])
    with pytest.raises(ValueError, match="`layer` must depend on the images"):
        effective_receptive_field(stack, pictures, "conv0")

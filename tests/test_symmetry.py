"""Symmetries of hyperbolic nets: the mathematics, then what users call."""

import keras
import numpy as np
import pytest
from conftest import build, fill

import keras_pdenets
from keras_pdenets.operators import groups
from keras_pdenets.transforms.sparsify import SMALL, mixed_kernels, prune
from keras_pdenets.transforms.symmetry import apply_matrices, output_difference

CONFIG = {"num_blocks": 2, "filters": (8, 12, 16)}
PUBLISHED = (3, 4, 5, 6, 7)


def _net(cache={}, **config):  # noqa: B006 (built once, on purpose)
    key = tuple(sorted(config.items()))
    if key not in cache:
        config = {**CONFIG, **config}
        if config.get("equation") == 5:
            config["filters"] = (8, 16, 32)
        cache[key] = fill(build("hyperbolic_resnet20", side=8, config=config))
    return cache[key]


def _images():
    return np.random.default_rng(5).uniform(0, 255, (4, 8, 8, 3)).astype("float32")


def _random(model, seed=0, group=None):
    rng = np.random.default_rng(seed)
    return {
        stage: (group or symmetry.group).random(symmetry.filters, rng)
        for stage, symmetry in keras_pdenets.symmetry_group(model).items()
    }


@pytest.mark.parametrize(
    "group",
    [groups.Group(p, s, g) for p in ("all", "monomial", "diagonal") for s in (True, False)
     for g in (True, False) if g or p != "all"],
)  # fmt: skip
def test_groups_are_groups(group):
    rng = np.random.default_rng(0)
    a, b = group.random(7, rng), group.random(7, rng)
    for matrix in (np.eye(7), a, a @ b, np.linalg.inv(a)):
        assert group.distance(matrix) < 1e-12
    assert group & group == group


def test_intersections_of_groups():
    signed = groups.MONOMIAL & groups.ORTHOGONAL
    assert signed.name == "signed permutation" == groups.SIGNED_PERMUTATION.name
    assert (signed & groups.POSITIVE_MONOMIAL).name == "permutation"
    assert (groups.DIAGONAL & signed).name == "change of signs"
    rotation = groups.ORTHOGONAL.random(5, np.random.default_rng(0))
    assert groups.MONOMIAL.distance(rotation) > 0.1
    assert groups.ORTHOGONAL.distance(2 * rotation) > 1
    assert groups.POSITIVE_MONOMIAL.distance(-np.eye(3)) == 1
    assert groups.MONOMIAL.distance(np.ones((3, 3))) == 1


@pytest.mark.once
@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"equation": "cp", "activation": None, "block_norm": "scale"}, ["GL(n)"] * 3),
        ({"equation": "full", "activation": None, "block_norm": "scale"}, ["GL(n)"] * 3),
        ({"equation": "cp", "block_norm": "scale"}, ["GL(n)", "O(n)", "O(n)"]),
        ({"equation": "cp"}, ["O(n)"] * 3),
        ({"equation": "cp", "activation": "hardball"}, ["O(n)"] * 3),
        ({"equation": "cp", "block_norm": "batch"},
         ["monomial", "signed permutation", "signed permutation"]),
        ({"equation": "cp", "activation": "hardtanh"}, ["O(n)"] + ["signed permutation"] * 2),
        ({"equation": "cp", "activation": "relu"}, ["O(n)"] + ["permutation"] * 2),
        *(({"equation": e, "activation": None}, ["positive monomial", "monomial", "monomial"])
          for e in (3, 4, 6, 7)),
        ({"equation": 5, "activation": None}, ["positive diagonal", "diagonal", "diagonal"]),
        ({"equation": 3}, ["positive monomial", "signed permutation", "signed permutation"]),
    ],
)  # fmt: skip
@pytest.mark.slow
def test_the_group_of_every_form(config, expected):
    model = _net(**config)
    found = keras_pdenets.symmetry_group(model)
    assert [found[stage].group.name for stage in sorted(found)] == expected
    new, report = keras_pdenets.transform(model, _random(model), _images())
    assert report.difference < 1e-5
    old = model.get_weights()
    changed = [not np.allclose(a, b) for a, b in zip(new.get_weights(), old, strict=True)]
    assert sum(changed) > 6  # one tensor and more of each of the six blocks


@pytest.mark.once
@pytest.mark.parametrize("shared", [True, False])
def test_the_published_net_is_kept_by_monomial_matrices_only(shared):
    model = _net(equation=3, activation=None, shared_stencil=shared)
    monomial = {1: groups.MONOMIAL.random(12, np.random.default_rng(1))}
    assert keras_pdenets.transform(model, monomial, _images())[1].difference < 1e-5
    rotation = {1: groups.ORTHOGONAL.random(12, np.random.default_rng(1))}
    with pytest.raises(ValueError, match=r"Eq. \(3\) keeps its form for monomial"):
        keras_pdenets.transform(model, rotation)


@pytest.mark.once
@pytest.mark.parametrize("activation", ["softball", "hardball"])
def test_outside_the_group_the_outputs_move(activation):
    model = _net(equation="cp", block_norm="scale", activation=activation)
    scaling = {2: groups.GENERAL_LINEAR.random(16, np.random.default_rng(2))}
    assert output_difference(model, apply_matrices(model, scaling), _images()) > 1e-2
    with pytest.raises(ValueError, match=r"group of stage 2, 16 channels: O\(n\); .*at distance"):
        keras_pdenets.transform(model, scaling)


@pytest.mark.once
def test_batch_norm_is_folded_first():
    model = _net(equation="cp", block_norm="batch")
    rotations = _random(model, group=groups.ORTHOGONAL)
    assert output_difference(model, apply_matrices(model, rotations), _images()) > 1e-2
    with pytest.raises(ValueError, match="fold_block_norms removes it"):
        keras_pdenets.transform(model, rotations)
    folded = keras_pdenets.fold_block_norms(model)
    assert output_difference(model, folded, _images()) < 1e-5
    assert keras_pdenets.transform(folded, rotations, _images())[1].difference < 1e-5
    with pytest.raises(ValueError, match="end in a product"):
        keras_pdenets.fold_block_norms(_net(equation=4))


@pytest.mark.once
def test_hidden_batch_norm_in_training_mode_keeps_the_symmetry():
    model = _net(equation="cp")
    new = apply_matrices(model, _random(model))
    first, second = (keras.ops.convert_to_numpy(m(_images(), training=True)) for m in (model, new))
    np.testing.assert_allclose(second, first, atol=2e-5 * np.abs(first).max())


def test_bad_matrices_and_models():
    model = _net(equation="cp")
    singular = np.eye(8)
    singular[0, 0] = 0
    for matrices, match in (
        ({0: singular}, r"`matrices\[0\]` must be invertible"),
        ({0: np.eye(7)}, r"of shape \(8, 8\)"),
        ({0: np.full((8, 8), np.nan)}, "must be a finite matrix"),
        ({7: np.eye(8)}, "must have stages 0, 1, 2 as keys"),
        ({0: 1.5 * np.eye(8)}, r"O\(n\).*at distance 1.2e\+00"),
    ):
        with pytest.raises(ValueError, match=match):
            keras_pdenets.transform(model, matrices)
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="other")])
    with pytest.raises(ValueError, match="must be a hyperbolic net of this package"):
        keras_pdenets.symmetry_group(other)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_is_taken_for_what_it_is(dtype):
    model = fill(build("hyperbolic_resnet20", side=8, config=CONFIG, dtype=dtype))
    report = keras_pdenets.transform(model, _random(model), _images())[1]
    assert 0 < report.difference < 0.2


def test_outputs_that_are_not_finite_are_no_comparison():
    images = _images()
    images[0] = np.nan
    with pytest.raises(ArithmeticError, match="itself are not finite"):
        keras_pdenets.transform(_net(equation="cp"), {0: np.eye(8)}, images)


def test_what_else_reads_the_features_is_seen():
    model = _net(equation="cp")
    with pytest.raises(ValueError, match="must have one output"):
        keras_pdenets.symmetry_group(keras_pdenets.features(model))
    inner = model.get_layer("stage1_block1_add").output
    pooled = keras.layers.GlobalAveragePooling2D(name="mine")(inner)
    both = keras.layers.Concatenate(name="both")([model.output, pooled])
    with pytest.raises(ValueError, match="layer 'mine', which reads 'stage1_block1_add'"):
        keras_pdenets.symmetry_group(keras.Model(model.input, both))
    own = keras.layers.Dense(3, name="own")(model.get_layer("pool").output)
    found = keras_pdenets.symmetry_group(keras.Model(model.input, own))
    assert [s.group.name for s in found.values()] == ["O(n)", "O(n)", "identity"]
    assert "layer 'own' reads its features" in found[2].reasons


def test_pruning_works_on_every_form_and_without_a_head():
    headless = build("hyperbolic_resnet20", side=8, config=CONFIG, include_top=False)
    for model in (*(_net(equation=e) for e in (3, 5, "full")), fill(headless)):
        kernels = [keras.ops.convert_to_numpy(v) for v, _, _ in mixed_kernels(prune(model, 0.5))]
        assert len(kernels) >= 6
        assert all(abs((k == 0).mean() - 0.5) < 0.02 for k in kernels)


def test_without_a_head_the_last_stage_is_fixed():
    model = build("hyperbolic_resnet20", side=8, config=CONFIG, include_top=False)
    found = keras_pdenets.symmetry_group(model)
    assert [s.group.name for s in found.values()] == ["O(n)", "O(n)", "identity"]


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "seed"),
    [({}, None), ({}, 3), ({"activation": None, "block_norm": "scale"}, None)],
)
def test_sparsify_changes_the_weights_and_not_the_outputs(config, seed):
    model = _net(equation="cp", **config)
    new, report = keras_pdenets.sparsify(
        model, steps=150, learning_rate=0.03, seed=seed, images=_images(), verbose=0
    )
    assert report.transform.difference < 1e-5
    assert output_difference(model, new, _images()) == report.transform.difference
    assert report.cost_after < 0.97 * report.cost_before
    assert report.after > 1.5 * report.before > 0
    kernels = [
        [np.abs(keras.ops.convert_to_numpy(v)) for v, _, _ in mixed_kernels(m)]
        for m in (model, new)
    ]
    shares = [
        sum((k < SMALL * k.max()).sum() for k in ks) / sum(k.size for k in ks) for ks in kernels
    ]
    assert shares == pytest.approx([report.before, report.after], rel=1e-3)
    assert "below 1 % of their layer" in str(report)


def test_pruning_takes_the_smallest_weights():
    model = _net(equation="cp")
    pruned = prune(model, 0.3)
    for (old, _, _), (new, _, _) in zip(mixed_kernels(model), mixed_kernels(pruned), strict=True):
        old, new = (np.abs(keras.ops.convert_to_numpy(v)).ravel() for v in (old, new))
        gone = new == 0
        assert gone.sum() == int(0.3 * old.size)
        assert old[gone].max() <= old[~gone].min()
        np.testing.assert_array_equal(new[~gone], old[~gone])
    np.testing.assert_array_equal(
        prune(model, 0).predict(_images(), verbose=0), model.predict(_images(), verbose=0)
    )
    with pytest.raises(ValueError, match=r"`share` must be in \[0, 1\)"):
        prune(model, 1.0)


def test_what_cannot_be_rotated_is_refused():
    for config in (
        {"equation": 3},
        {"equation": "cp", "activation": "relu", "activation_at": "all"},
    ):
        with pytest.raises(
            ValueError, match=r"must have the symmetric form .* stage 1, 12 channels"
        ):
            keras_pdenets.sparsify(_net(**config))

"""Flows in NumPy: factors, logarithms, orders, caps."""

import numpy as np
import pytest
from scipy import linalg

from keras_pdenets.operators.flows import (
    SCHEMES,
    TIMES,
    Scheme,
    activation_flow,
    increments,
    largest_invertible,
    linear_flow,
    proper_polar,
    proper_svd,
    rotation_logarithm,
)
from keras_pdenets.operators.flows.activations import ACTIVATIONS
from keras_pdenets.operators.flows.rotations import embed

SIZES = (2, 3, 5, 8, 16, 33, 64)


def rotation(rng, size, angles):
    """A rotation by the given angles in random planes."""
    block = np.eye(size)
    for i, angle in enumerate(angles[: size // 2]):
        c, s = np.cos(angle), np.sin(angle)
        block[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = [[c, -s], [s, c]]
    basis = np.linalg.qr(rng.normal(size=(size, size)))[0]
    return basis @ block @ basis.T


def _cases():
    rng = np.random.default_rng(0)
    near = (0.0, 1e-15, 1e-12, 1e-9, 1e-6, 1e-3)
    for case in range(294):
        size = SIZES[case % len(SIZES)]
        angles = rng.uniform(-np.pi, np.pi, size)
        at = rng.integers(0, size // 2 + 1)
        angles[:at] = np.pi - near[case % len(near)]
        yield rotation(rng, size, angles)
    for size in (128, 256, 512):
        yield rotation(rng, size, rng.uniform(-np.pi, np.pi, size))
        yield rotation(rng, size, np.full(size, np.pi))


def test_the_logarithm_of_300_rotations():
    worst = 0.0
    cases = list(_cases())
    for r in cases:
        a = rotation_logarithm(r)
        assert np.isrealobj(a)
        np.testing.assert_allclose(a, -a.T, atol=1e-12)
        # By the eigenvalues of the Hermitian i A: expm itself loses digits at size 512.
        values, vectors = np.linalg.eigh(1j * a)
        back = ((vectors * np.exp(-1j * values)) @ vectors.conj().T).real
        worst = max(worst, np.abs(back - r).max())
    assert len(cases) == 300
    assert worst < 1e-13


def test_what_is_no_rotation_is_refused():
    with pytest.raises(ValueError, match="determinant 1"):
        rotation_logarithm(np.diag([1.0, -1.0]))
    with pytest.raises(ValueError, match="orthogonal"):
        rotation_logarithm(np.diag([1.0, 2.0]))
    with pytest.raises(ValueError, match="finite"):
        rotation_logarithm(np.diag([1.0, np.nan]))


@pytest.mark.parametrize("shape", [(3, 3), (2, 5), (5, 2), (1, 1), (20, 20)])
def test_the_factors_are_proper(shape):
    rng = np.random.default_rng(1)
    for w in (rng.normal(size=shape), np.zeros(shape), -np.eye(*shape)):
        u, s, v = proper_svd(embed(w))
        np.testing.assert_allclose((u * s) @ v, embed(w), atol=1e-13)
        assert linalg.det(u) == pytest.approx(1)
        assert linalg.det(v) == pytest.approx(1)
        r, s, v = proper_polar(embed(w))
        np.testing.assert_allclose(r @ (v.T * s) @ v, embed(w), atol=1e-13)
        assert linalg.det(r) == pytest.approx(1)
    with pytest.raises(ValueError, match="`embed`"):
        proper_svd(np.eye(3))


def test_tiny_matrices_are_no_zeros():
    w = 1e-13 * np.eye(2)
    np.testing.assert_allclose(linear_flow(w, 4).product(), w, rtol=1e-9)


@pytest.mark.parametrize("name", [n for n, s in SCHEMES.items() if s.order])
def test_the_order_of_a_scheme_is_what_it_declares(name):
    rng = np.random.default_rng(2)
    a = rng.normal(size=(6, 6)) * 0.4
    exact = linalg.expm(a)
    steps = np.array([8, 16, 32, 64])
    errors = [
        np.abs(np.linalg.matrix_power(SCHEMES[name].step(a, 1 / n), n) - exact).max() for n in steps
    ]
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert -slope == pytest.approx(SCHEMES[name].order, abs=0.15)


def test_a_wrong_order_is_refused():
    with pytest.raises(ValueError, match="`order`"):
        Scheme("heun", 3, (1.0,), (0.5, 0.5))
    with pytest.raises(ValueError, match="`order`"):
        Scheme("midpoint", 1, (0.5,), (0.0, 1.0))


@pytest.mark.parametrize("name", ["euler", "midpoint", "rk4"])
@pytest.mark.parametrize("rate", [-0.5, -7.3, -40.0])
def test_the_smallest_stable_number_of_steps(name, rate):
    scheme = SCHEMES[name]
    found = scheme.smallest_stable(rate)
    assert 0 < scheme.growth(rate / found) <= 1 + 1e-9
    assert found == 1 or not 0 < scheme.growth(rate / (found - 1)) <= 1


def test_cayley_steps_stay_off_its_pole_and_its_sign():
    cayley = SCHEMES["cayley"]
    assert cayley.smallest_stable(2.0) == 2  # R(2) is infinite
    assert cayley.smallest_stable(2.3) == 2  # R(2.3) is negative
    assert cayley.smallest_stable(-10.0) == 6  # R(-2) is 0
    with pytest.raises(ValueError, match="at least 2 for 'cayley'"):
        linear_flow(10 * np.eye(2), 1, "cayley")
    assert np.abs(linear_flow(np.zeros((2, 2)), 64, "cayley").product()).max() < 1e-8


@pytest.mark.parametrize("shape", [(4, 4), (3, 6), (6, 3), (31, 16)])
@pytest.mark.parametrize("steps", [1, 4, 16])
def test_exact_steps_make_the_matrix(shape, steps):
    rng = np.random.default_rng(3)
    for w in (
        rng.normal(size=shape),
        np.diag(np.geomspace(1, 1e-9, max(shape)))[: shape[0], : shape[1]],
    ):
        flow = linear_flow(w, steps)
        assert len(flow.steps) == 2 * steps
        np.testing.assert_allclose(flow.product(), w, atol=1e-12)


@pytest.mark.parametrize(
    ("scheme", "order"), [("euler", 1), ("midpoint", 2), ("rk4", 4), ("cayley", 2)]
)
def test_inexact_steps_converge_with_their_order(scheme, order):
    # Well conditioned but for the extra dimension, which no input reaches.
    w = np.eye(5) + 0.3 * np.random.default_rng(4).normal(size=(5, 5))
    errors = [np.abs(linear_flow(w, n, scheme).product() - w).max() for n in (64, 128, 256)]
    slope = -np.polyfit(np.log([64, 128, 256]), np.log(np.maximum(errors, 1e-15)), 1)[0]
    assert slope == pytest.approx(order, abs=0.3)


def test_unstable_steps_are_refused_with_the_number_it_takes():
    w = np.diag([1.0, 1e-3])
    with pytest.raises(ValueError, match=r"`steps` must be at least 7 for 'euler'"):
        linear_flow(w, 4, "euler")
    assert np.isfinite(linear_flow(w, 7, "euler").product()).all()
    # The dimension that we add decays to nothing at once: no input reaches it.
    np.testing.assert_allclose(linear_flow(np.eye(3), 1, "euler").product(), np.eye(3), atol=1e-13)
    with pytest.raises(ValueError, match="`scheme` must be one of"):
        linear_flow(w, 4, "heun")
    with pytest.raises(ValueError, match="`steps` must be a positive integer"):
        linear_flow(w, 0)


@pytest.mark.parametrize("time", TIMES)
def test_times_run_from_0_to_1_with_the_slope_that_they_state(time):
    h, slope = TIMES[time]
    t = np.linspace(0, 1, 1001)
    assert h(t)[0] == 0
    assert h(t)[-1] == pytest.approx(1)
    assert (np.diff(h(t)) >= 0).all()
    inner = t[1:-1]
    np.testing.assert_allclose((h(inner + 1e-6) - h(inner - 1e-6)) / 2e-6, slope(inner), atol=1e-5)
    _, step = increments(time, 7)
    assert step.sum() == pytest.approx(1)


def test_bad_steps_and_times_are_refused():
    with pytest.raises(ValueError, match="`time`"):
        increments("cubic", 3)
    with pytest.raises(ValueError, match="`steps`"):
        increments("linear", 0)


# Activation flows in float64, by bisection in place of Newton


def inverse(activation, h, y):
    low, high = np.full_like(y, -1e4), np.full_like(y, 1e4)
    for _ in range(120):
        middle = (low + high) / 2
        above = (1 - h) * middle + h * activation(middle) > y
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return (low + high) / 2


def run(name, steps, time="linear", paper=False, z=None):
    activation = ACTIVATIONS[name]
    flow = activation_flow(activation, steps, time, paper)
    y = z.copy()
    for h, step in zip(flow.left, flow.step, strict=True):
        if name == "relu" and paper:  # equation 57: the closed form
            y = y + np.maximum(-np.float64(step) / (1 - h) * y, 0)
            continue
        inner = inverse(activation, h, y) if h else y
        y = y + step * (activation(inner) - inner)
    return y


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("time", ["linear", "smoothstep"])
def test_exact_increments_are_exact(name, time):
    z = np.linspace(-6, 8, 281)
    for steps in (1, 4, 16):
        np.testing.assert_allclose(
            run(name, steps, time, z=z), ACTIVATIONS[name](z), atol=1e-9, err_msg=f"{steps}"
        )


@pytest.mark.parametrize(
    ("name", "known"), [("gelu", 0.886), ("silu", 0.909), ("mish", 0.899), ("relu", 1), ("tanh", 1)]
)
def test_the_largest_invertible_h(name, known):
    cap = largest_invertible(ACTIVATIONS[name])
    assert cap == pytest.approx(known, abs=5e-4)
    z = np.linspace(-20, 20, 400_001)
    below, above = (
        (1 - h) * z + h * ACTIVATIONS[name](z) for h in (cap - 1e-3, min(cap + 1e-3, 2))
    )
    assert (np.diff(below) > 0).all()
    if cap < 1:
        assert (np.diff(above) < 0).any()


def test_the_papers_increments_have_the_order_that_we_measured():
    z = np.random.default_rng(5).normal(0, 1.5, 4000)
    steps = (16, 64, 128)
    errors = [np.abs(run("relu", n, "smoothstep", True, z) - np.maximum(z, 0)).max() for n in steps]
    np.testing.assert_allclose(errors, [8.4e-3, 1.0e-4, 1.2e-5], rtol=0.3)
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert slope == pytest.approx(-3, abs=0.3)
    # Linear time: the increments coincide with the exact ones.
    assert np.abs(run("relu", 16, "linear", True, z) - np.maximum(z, 0)).max() < 1e-13
    # A smooth activation: order 1.
    errors = [np.abs(run("tanh", n, "smoothstep", True, z) - np.tanh(z)).max() for n in (32, 64)]
    assert 1.5 < errors[0] / errors[1] < 2.6


def test_the_papers_scheme_fails_where_we_say_so():
    # The bump rounds to 1 before the last step: division by zero.
    z = np.array([-1.0])
    with np.errstate(all="ignore"):
        assert not np.isfinite(run("relu", 64, "bump", True, z)).all()
    # Exact increments with the same times, and no trouble while h stays below 1.
    np.testing.assert_allclose(run("relu", 8, "bump", False, z), [0.0], atol=1e-6)


def test_the_papers_linear_flow_has_order_1_and_needs_many_steps():
    w = np.random.default_rng(6).normal(size=(5, 4))
    with pytest.raises(ValueError, match=r"at least 41 for 'paper' here.*rate -40"):
        linear_flow(w, 32, "paper")
    errors = [np.abs(linear_flow(w, n, "paper").product() - w).max() for n in (256, 512, 1024)]
    assert len(linear_flow(w, 64, "paper").steps) == 3 * 64
    np.testing.assert_allclose(np.divide(errors[:-1], errors[1:]), 2, atol=0.2)
    # Two flows in place of three, near the identity: far less error for the same steps.
    near = np.eye(8) + 0.05 * np.random.default_rng(7).normal(size=(8, 8))
    three = np.abs(linear_flow(near, 64, "paper").product() - near).max()
    two = np.abs(linear_flow(near, 64, "euler").product() - near).max()
    assert three > 50 * two
    # The steps in the middle of the smoothstep are 1.5 times as long.
    with pytest.raises(ValueError, match="at least 61 for 'paper'"):
        linear_flow(w, 50, "paper", "smoothstep")


@pytest.mark.parametrize("time", TIMES)
def test_exact_linear_flows_take_any_time(time):
    w = np.random.default_rng(8).normal(size=(6, 3))
    np.testing.assert_allclose(linear_flow(w, 9, "exact", time).product(), w, atol=1e-12)
    np.testing.assert_allclose(linear_flow(w, 200, "rk4", time).product(), w, atol=1e-5)

"""Stencils and kernels against the mathematics they claim."""

import numpy as np
import pytest

from keras_pdenets.operators import (
    PDE_STENCILS,
    Stencil,
    pde_basis,
    pde_coefficients,
    pde_initial_scales,
    pde_kernel,
)


def _apply(stencil, function, h, x=0.3, y=-0.2):
    points = np.array([-h, 0.0, h])
    return (stencil.kernel * function(x + points[None, :], y + points[:, None])).sum()


@pytest.mark.parametrize("stencil", PDE_STENCILS, ids=lambda s: s.name)
def test_regressed_order_is_the_declared_one(stencil):
    m, n = stencil.derivative
    if m + n == 0:
        pytest.skip("the identity has no error")

    def exact(x, y):  # d^m/dx^m d^n/dy^n of exp(x + 2 y)
        return 2.0**n * np.exp(x + 2 * y)

    steps = 2.0 ** -np.arange(2, 7)
    errors = [
        abs(
            _apply(stencil, lambda x, y: np.exp(x + 2 * y), h) / (stencil.scale * h ** (m + n))
            - exact(0.3, -0.2)
        )
        for h in steps
    ]
    order = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert order == pytest.approx(stencil.order, abs=0.1)


def test_a_mistyped_stencil_cannot_exist():
    with pytest.raises(ValueError, match=r"`dxx` must have moment x\^0 y\^0 = 0.0"):
        Stencil("dxx", (0, 1, 0), (1, -2, 2), derivative=(2, 0), scale=1.0, order=2)
    with pytest.raises(ValueError, match="must have moment"):
        Stencil("dx", (0, 1, 0), (-1, 0, 1), derivative=(1, 0), scale=2.0, order=3)


def test_kernel_is_the_matrix_of_the_specification():
    rng = np.random.default_rng(1)
    (s1, s2), (b1, b2), (c1, c2) = sigma, b, c = rng.normal(size=(3, 2))
    a, d, p, qx, qy, e = s1**2, s2**2, b1 * b2, b1 * c2, b2 * c1, c1 * c2
    wanted = [
        [p, d - qy, -p],
        [a - qx, e - 2 * a - 2 * d, a + qx],
        [-p, d + qy, p],
    ]
    np.testing.assert_allclose(pde_kernel(sigma, b, c), wanted, atol=1e-12)


def test_normalized_basis_gives_true_derivatives():
    u = np.fromfunction(lambda y, x: 3 * x + 5 * y + 2 * x * y + 4 * x * x + 7 * y * y, (3, 3))
    # At the centre (1, 1): u_xx = 8, u_yy = 14, u_xy = 2, u_x = 3+2+8, u_y = 5+2+14, u = 21.
    found = (pde_basis(normalize=True) * u).sum((1, 2))
    np.testing.assert_allclose(found, [8 / 2, 14 / 2, 2, 13, 21, 21])


def test_six_parameters_have_five_degrees_of_freedom():
    theta = np.random.default_rng(2).normal(size=6)

    def coefficients(t):
        return pde_coefficients(t[:2], t[2:4], t[4:])

    step = 1e-6
    jacobian = [
        (coefficients(theta + step * unit) - coefficients(theta - step * unit)) / (2 * step)
        for unit in np.eye(6)
    ]
    assert np.linalg.matrix_rank(jacobian, tol=1e-6) == 5
    a, d, p, qx, qy, e = coefficients(theta)
    assert qx * qy == pytest.approx(p * e)
    assert min(a, d) >= 0


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("channels", [1, 16, 512])
def test_initial_kernels_have_the_second_moment_of_he(channels, normalize):
    rng = np.random.default_rng(3)
    scales = pde_initial_scales(channels, normalize)
    draws = (scale * rng.normal(size=(2, 200_000)) for scale in scales)
    energy = np.square(pde_kernel(*draws, normalize)).sum((0, 1))
    # The standard error of the mean comes from the same draws.
    error = energy.std() / np.sqrt(energy.size)
    assert abs(energy.mean() - 2 / channels) < 5 * error

"""Matrix-free solvers of equations, one for each example of a batch."""

from keras import ops

from keras_pdenets.layers.autodiff import push_forward

_WINDOW = 8  # directions that the next one is orthogonalised against
_FORCING = 1e-2  # tolerance of the linear system in a Newton step
_MOST = 60  # products per Newton step
_SMALLEST = 1e-3  # smallest damping factor of a Newton step


def dot(u, v):
    """Inner products of the examples, of shape (b, 1, ..., 1)."""
    return ops.sum(u * v, axis=tuple(range(1, len(u.shape))), keepdims=True)


def norm(u):
    """2-norms of the examples, of shape (b, 1, ..., 1)."""
    return ops.sqrt(dot(u, u))


def solve_linear(apply, right, tolerance, max_products):
    r"""Solve A x = b by truncated generalised conjugate residuals.

    Orthomin(8), Eisenstat, Elman and Schultz 1983, doi 10.1137/0720023; without truncation it is
    equivalent to GMRES. If the symmetric part of A is positive definite, every product reduces the
    residual; for a symmetric A one previous direction is enough. Examples are independent systems.

    Args:
        apply: Function of a batch of vectors that returns A times each.
        right: b.
        tolerance: Tolerance of the residual relative to b.
        max_products: Largest number of products.

    Returns:
        x, and the number of products used.
    """
    limit = tolerance**2 * dot(right, right)
    axes = tuple(range(2, len(right.shape) + 1))
    past = ops.stack([ops.zeros_like(right)] * _WINDOW)  # (window, b, ...)

    def step(x, residual, directions, images, products):
        direction, image = residual, apply(residual)
        for _ in range(2):  # the second pass removes rounding errors
            along = ops.sum(images * image, axis=axes, keepdims=True)
            direction = direction - ops.sum(along * directions, axis=0)
            image = image - ops.sum(along * images, axis=0)
        size = dot(image, image)
        factor = ops.where(size > 0, ops.rsqrt(ops.where(size > 0, size, 1.0)), 0.0)
        direction, image = factor * direction, factor * image
        # Converged examples do not change any more.
        length = ops.where(dot(residual, residual) > limit, dot(residual, image), 0.0)
        return (
            x + length * direction,
            residual - length * image,
            ops.concatenate([directions[1:], direction[None]]),
            ops.concatenate([images[1:], image[None]]),
            products + 1,
        )

    x, *_, products = ops.while_loop(
        lambda x, residual, *_: ops.any(dot(residual, residual) > limit),
        step,
        (ops.zeros_like(right), right, past, past, ops.zeros((), "int32")),
        maximum_iterations=max_products,
    )
    return x, products


def solve(function, start, limit, max_products):
    r"""Solve f(d) = 0 by a damped Newton-Krylov method.

    Steps are shortened until the residual decreases; if none decreases it, the example keeps its
    best d.

    Args:
        function: f, a function of a batch that treats examples independently.
        start: Initial d.
        limit: Tolerance of the norm of the residual, for each example.
        max_products: Number of Jacobian-vector products after which no further step is started.

    Returns:
        d, and the norm of the residual of each example.
    """

    def unsolved(residual, share):
        return ops.logical_and(norm(residual) > limit, share > _SMALLEST)

    def step(d, residual, share, products):
        todo = unsolved(residual, share)
        change, more = solve_linear(
            lambda v: push_forward(function, d, v),
            ops.where(todo, -residual, 0.0),
            _FORCING,
            min(_MOST, max_products),
        )
        new = d + share * change
        new_residual = function(new)
        # False for NaN, too.
        better = ops.logical_and(norm(new_residual) < norm(residual), todo)
        return (
            ops.where(better, new, d),
            ops.where(better, new_residual, residual),
            ops.where(better, ops.minimum(2.0 * share, 1.0), 0.25 * share),
            products + more,
        )

    def going(_, residual, share, products):
        return ops.logical_and(ops.any(unsolved(residual, share)), products < max_products)

    first = function(start)
    state = start, first, ops.ones_like(norm(first)), ops.zeros((), "int32")
    d, residual, *_ = ops.while_loop(going, step, state)
    return d, norm(residual)

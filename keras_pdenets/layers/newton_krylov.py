"""Equations with one unknown tensor for each example of a batch, solved without any matrix."""

from keras import ops

from keras_pdenets.layers.autodiff import push_forward

_WINDOW = 8  # directions that the next one is made orthogonal to
_FORCING = 1e-2  # of the linear equation inside a round of Newton's method
_MOST = 60  # products for that
_SMALLEST = 1e-3  # share of a Newton step below which there is no better one


def dot(u, v):
    """Inner product of each example, in a shape that spreads over the batch: (b, 1, ..., 1)."""
    return ops.sum(u * v, axis=tuple(range(1, len(u.shape))), keepdims=True)


def norm(u):
    """2-norm of each example."""
    return ops.sqrt(dot(u, u))


def solve_linear(apply, right, tolerance, max_products):
    r"""A x = b by generalised conjugate residuals: GMRES where nothing is forgotten.

    Orthomin(8), Eisenstat, Elman and Schultz 1983, doi 10.1137/0720023. Every product makes the
    residual smaller as long as the symmetric part of A is positive definite; for a symmetric A no
    direction has to be remembered but the last. Each example is an equation of its own.

    Args:
        apply: Function of a batch of vectors that gives A times each.
        right: b.
        tolerance: Residual that it stops at, relative to b.
        max_products: Largest number of products.

    Returns:
        x, and the number of products that it took.
    """
    limit = tolerance**2 * dot(right, right)
    axes = tuple(range(2, len(right.shape) + 1))
    past = ops.stack([ops.zeros_like(right)] * _WINDOW)  # (window, b, ...)

    def step(x, residual, directions, images, products):
        direction, image = residual, apply(residual)
        for _ in range(2):  # once leaves what rounding brings back
            along = ops.sum(images * image, axis=axes, keepdims=True)
            direction = direction - ops.sum(along * directions, axis=0)
            image = image - ops.sum(along * images, axis=0)
        size = dot(image, image)
        factor = ops.where(size > 0, ops.rsqrt(ops.where(size > 0, size, 1.0)), 0.0)
        direction, image = factor * direction, factor * image
        # An example that is done stays as it is, whatever the others need.
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
    r"""f(d) = 0 by Newton's method, with `solve_linear` on products with the derivative.

    A step is shortened until the residual gets smaller; where no step makes it so, the example
    keeps the best that it has.

    Args:
        function: f, a function of a batch that treats each example by itself.
        start: First d.
        limit: Norm of the residual that is small enough, for each example.
        max_products: Number of products with the derivative after which no step is begun.

    Returns:
        d, and the norm of its residual for each example.
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
        # False for NaN as well.
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

"""Scaling of a measured quantity with depth."""

import numpy as np

from keras_pdenets.analysis.inputs import check_floats


def fit_exponent(depths, values):
    r"""Exponent of the power law through `values`, and its standard error.

    $$v(L) = c\,L^a, \qquad \log v = \log c + a \log L$$

    by least squares in the logarithms; Hauser 2019, arXiv 1902.04106, section 3.4, expects -1 for
    the mean scaled perturbation.

    Args:
        depths: Numbers of blocks; at least three different ones for a standard error.
        values: The measured quantity at each; positive.

    Returns:
        The exponent and its standard error (NaN with two points).

    Raises:
        ValueError: If there are fewer than two depths, or a number is not positive.

    Example:
    >>> from keras_pdenets.analysis import fit_exponent
    >>> exponent, error = fit_exponent([2, 4, 8, 16], [0.5, 0.25, 0.125, 0.0625])
    >>> round(exponent, 6), round(error, 6)
    (-1.0, 0.0)
    """
    depths, values = check_floats("depths", depths), check_floats("values", values)
    if depths.shape != values.shape or depths.ndim != 1 or len(set(depths)) < 2:
        raise ValueError(
            "`depths` and `values` must be lists of the same length, with at least two different "
            f"depths. Received: depths={depths.tolist()}, values={values.tolist()}"
        )
    if not ((depths > 0).all() and (values > 0).all() and np.isfinite(values).all()):
        raise ValueError(
            "`depths` and `values` must be positive. "
            f"Received: depths={depths.tolist()}, values={values.tolist()}"
        )
    x, y = np.log(depths), np.log(values)
    if len(x) == 2:
        return float(np.diff(y)[0] / np.diff(x)[0]), float("nan")
    (exponent, _), covariance = np.polyfit(x, y, 1, cov=True)
    return float(exponent), float(np.sqrt(covariance[0, 0]))

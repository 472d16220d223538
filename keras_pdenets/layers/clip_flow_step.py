"""One step of the flow of a piecewise linear activation."""

import keras
from keras import ops

from keras_pdenets.layers.flow_step import FlowStep
from keras_pdenets.utils.checks import check_number


@keras.saving.register_keras_serializable(package="keras_pdenets")
class ClipFlowStep(FlowStep):
    r"""One step of the flow of a piecewise linear activation.

    $$y_{r+1} = y_r + c\,\mathrm{relu}(y_{low} - y_r) - c\,\mathrm{relu}(y_r - y_{high})$$

    Equation 57, Li and Shi 2017, arXiv 1708.05115, with the rate
    $c = \Delta h\,(1 - s) / (1 - h_r (1 - s))$ of the exact increment; s is the slope beyond the
    ends (0: ReLU, ReLU6, hard tanh; else leaky ReLU). No inverse is needed.

    Args:
        rate: c, in [0, 2]; below 1 the step is invertible, and its residual has that Lipschitz
            constant; above 1 it overshoots, which the paper's increments may do.
        low: Lower end.
        high: Upper end, or None.
        promote: None (no weights), `"channel"` (one gain for each channel), `"depthwise"` or
            `"conv"` (3x3 kernels before and after the activation). All start as the plain step.
            For inputs that are not images all three mean `"channel"`.
        data_format: `"channels_last"`, `"channels_first"` or None (Keras' own).
        **kwargs: Arguments of `keras.layers.Layer`.

    Input and output shape:
        Any; kernels need images of shape (b, h, w, c).

    Raises:
        ValueError: If an argument is out of range.

    Example:
    >>> import numpy as np
    >>> from keras_pdenets.layers import ClipFlowStep
    >>> steps = [ClipFlowStep(rate) for rate in (1 / 3, 1 / 2, 1)]
    >>> y = np.array([[-6.0, 3.0]], "float32")
    >>> for step in steps:
    ...     y = step(y)
    >>> [round(float(v), 6) for v in y[0]]
    [0.0, 3.0]
    """

    def __init__(self, rate, low=0.0, high=None, promote=None, data_format=None, **kwargs):
        super().__init__(promote, data_format, **kwargs)
        self.rate = check_number("rate", rate, "in [0, 2]", lambda number: 0 <= number <= 2)
        self.low = low = check_number("low", low, "a number")
        if high is not None:
            rule = f"a number above low={low}, or None"
            high = check_number("high", high, rule, lambda number: number > low)
        self.high = high

    @property
    def operations(self):
        """Operations per element: difference, ReLU, product, sum; kernels are not counted."""
        return 4 if self.high is None else 6

    def increment(self, y):
        """Move values beyond the ends towards them."""
        change = ops.relu(self.low - y)
        if self.high is not None:
            change = change - ops.relu(y - self.high)
        return self.rate * change

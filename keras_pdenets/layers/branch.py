"""Base of layers that contain a residual branch as a model."""

from keras_pdenets.layers.config import SameShape
from keras_pdenets.utils.checks import check_number


class OnBranch(SameShape):
    """A step of $x' = F(x)$, with the residual branch F as a functional model inside the layer.

    The layer returns the increment: added to x, it forms an ordinary residual block.
    """

    def __init__(self, branch, step_size=1.0, **kwargs):
        # The layers of the branch do their own casting.
        super().__init__(autocast=False, **kwargs)
        if not getattr(branch, "inputs", None) or not hasattr(branch, "operations"):
            raise ValueError(
                f"`branch` must be a functional Keras model. Received: {type(branch).__name__}"
            )
        if branch.output_shape != branch.input_shape:
            raise ValueError(
                "`branch` must have one input and one output of the same shape. Received: "
                f"shape {branch.output_shape} from {branch.input_shape}"
            )
        self.branch = branch
        self.step_size = check_number("step_size", step_size, "positive", lambda h: h > 0)

"""Base of the steps of an activation's flow: trainable kernels before and after it."""

import numpy as np
from keras import ops

from keras_pdenets.layers.on_channels import OnChannels
from keras_pdenets.utils.checks import check_choice

# They start as the identity, so weight decay would destroy the activation.
FLOW_KERNELS = ("inner_kernel", "outer_kernel")
PROMOTIONS = (None, "channel", "depthwise", "conv")


class FlowStep(OnChannels):
    """y + k2 * increment(k1 * y), with kernels that start as the identity."""

    def __init__(self, promote=None, data_format=None, **kwargs):
        super().__init__(data_format, **kwargs)
        self.promote = check_choice("promote", promote, PROMOTIONS)

    def add_own_weights(self, rank, channels):
        """Create the gain, or the two kernels."""
        if self.promote == "channel" or (self.promote is not None and rank != 4):
            self.gain = self.add_weight(shape=(channels,), initializer="ones", name="gain")
        elif self.promote is not None:
            shape = (3, 3, channels, 1 if self.promote == "depthwise" else channels)
            self.inner_kernel, self.outer_kernel = (
                self.add_weight(shape=shape, initializer=_identity, name=name)
                for name in FLOW_KERNELS
            )

    def call(self, y):
        y = ops.cast(y, self.compute_dtype)  # integers too
        if self.promote is None:
            return y + self.increment(y)
        if hasattr(self, "gain"):
            return y + self.along_channels(self.gain, y) * self.increment(y)
        return y + self._convolve(
            self.increment(self._convolve(y, self.inner_kernel)), self.outer_kernel
        )

    def _convolve(self, y, kernel):
        convolve = ops.depthwise_conv if self.promote == "depthwise" else ops.conv
        return convolve(y, kernel, padding="same", data_format=self.data_format)

    def increment(self, y):
        """Change of y in the step, an elementwise function."""
        raise NotImplementedError


def _identity(shape, dtype=None):
    """The identity kernel."""
    kernel = np.zeros(shape)
    kernel[1, 1] = 1.0 if shape[3] == 1 else np.eye(shape[2])
    return ops.convert_to_tensor(kernel, dtype or "float32")

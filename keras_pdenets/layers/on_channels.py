"""Base of the layers of a flow: inputs of any rank, channels last or first."""

import keras

from keras_pdenets.layers.config import SameShape
from keras_pdenets.layers.images import channel_axis, check_data_format


class OnChannels(SameShape):
    """A layer that acts on the channels of each position alike."""

    def __init__(self, data_format=None, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.data_format = check_data_format(data_format)

    def build(self, input_shape):
        rank = len(input_shape)
        self._axis = self.axis_of(rank)
        self.add_own_weights(rank, input_shape[self._axis])
        self.built = True

    def axis_of(self, rank):
        """Channel axis of a tensor of the given rank."""
        return (channel_axis(self.data_format) if rank >= 3 else -1) % rank

    def add_own_weights(self, rank, channels):
        """Create the weights, if any."""

    def along_channels(self, vector, x):
        """A vector with one entry per channel, reshaped to broadcast over `x`."""
        shape = [1] * len(x.shape)
        shape[self._axis] = -1
        return keras.ops.reshape(vector, shape)

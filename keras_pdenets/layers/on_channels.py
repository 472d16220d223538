"""What the layers of a flow share: any rank, the channels last or behind the batch."""

import keras

from keras_pdenets.layers.config import SameShape
from keras_pdenets.layers.images import channel_axis, check_data_format


class OnChannels(SameShape):
    """A layer that acts on the vector of channels, alike at every place."""

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
        """Axis of the channels in a tensor of a rank."""
        return (channel_axis(self.data_format) if rank >= 3 else -1) % rank

    def add_own_weights(self, rank, channels):
        """The weights, where there are any."""

    def along_channels(self, vector, x):
        """A vector of one number for each channel, in a shape that spreads over `x`."""
        shape = [1] * len(x.shape)
        shape[self._axis] = -1
        return keras.ops.reshape(vector, shape)

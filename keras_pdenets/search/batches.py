"""Shuffled batches whose order depends on the seed and the epoch alone."""

import keras
import numpy as np


class ShuffledBatches(keras.utils.PyDataset):
    """Arrays in a new order in every epoch, the same after a resume.

    Keras calls `on_epoch_end` once before the first step too.

    Args:
        x: Images.
        y: Labels.
        batch_size: Images in a step; the last, incomplete batch is left out.
        seed: Seed of the order.
        epoch: Number of epochs done.
    """

    def __init__(self, x, y, batch_size, seed, epoch):
        super().__init__()
        self.x, self.y = x, y
        self.batch_size = min(batch_size, len(x))
        self.seed, self.epoch = seed, epoch
        self._mix()

    def _mix(self):
        self._order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.x))

    def __len__(self):
        """Number of steps in an epoch."""
        return len(self.x) // self.batch_size

    def __getitem__(self, index):
        """One batch."""
        chosen = self._order[index * self.batch_size : (index + 1) * self.batch_size]
        return self.x[chosen], self.y[chosen]

    def on_epoch_end(self):
        """Go on to the next epoch's order."""
        self.epoch += 1
        self._mix()

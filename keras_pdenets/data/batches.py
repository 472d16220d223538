"""The batches of an epoch, as Keras takes them on every backend."""

import copy
import dataclasses

import keras
import numpy as np

from keras_pdenets.data.sources.source import THREADS


class Batches(keras.utils.PyDataset):
    """Batches of augmented images and their labels, by number.

    `keras.utils.PyDataset`, and not Google's `grain`: Keras brings it, `fit` takes it on every
    backend and gives it threads; and what grain adds, a position that can be saved, is not needed
    where a batch follows from seed, epoch and number alone.

    Args:
        source: The `Source`.
        batch_size: Images in a batch.
        change: The `Change`.
        shuffle: Mix the images, and drop the last, incomplete batch.
        augment: A `keras_layers.Augmenter` for the finished batches, or None.
    """

    def __init__(self, source, batch_size, change, shuffle, augment=None):
        # Images in memory are there sooner than a thread would be.
        super().__init__(workers=1 if source.in_memory else THREADS, max_queue_size=2 * THREADS)
        self.source, self.batch_size = source, batch_size
        self.change, self.shuffle, self.augment = change, shuffle, augment
        self._rank, self._ranks = 0, 1
        self._set_up()

    def _set_up(self):
        count = len(self.source)
        self._order = self.change.order(count) if self.shuffle else np.arange(count)
        self._draws = self.change.draws(count)

    @property
    def num_batches(self):
        """Batches in an epoch."""
        return len(self)

    def __len__(self):
        """Batches in an epoch."""
        count = len(self.source)
        return count // self.batch_size if self.shuffle else -(-count // self.batch_size)

    def __getitem__(self, number):
        """Images, float32, and labels, int64, or shares of the classes, of batch `number`."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        count = len(self.source)
        places = np.arange(self.batch_size * number, min(self.batch_size * (number + 1), count))
        rank, ranks = self._rank, self._ranks
        rows = slice(rank * len(places) // ranks, (rank + 1) * len(places) // ranks)
        if self.augment is None:
            return self._read(places[rows])
        # The whole batch, of which a part is taken: its images are mixed, and the draws are its.
        images, labels = self.augment(*self._read(places), self.change.numbers(number))
        return images[rows], labels[rows]

    def _read(self, places):
        """Images and labels at places of the epoch."""
        chosen = self._order[places]
        if self.source.in_memory and isinstance(self.source.images, np.ndarray):
            images, labels = self.source.images[chosen], self.source.labels[chosen]
            return self.change(images, places, self._draws), self._checked(labels)
        pairs = [self.source.read(index) for index in chosen]
        images = [
            self.change(image[None], places[i : i + 1], self._draws)
            for i, (image, _) in enumerate(pairs)
        ]
        return np.concatenate(images), self._checked([label for _, label in pairs])

    def __iter__(self):
        """The batches, in their order."""
        return (self[number] for number in range(len(self)))

    def part(self, rank, ranks):
        """The batches of one of several processes: its rows of every batch."""
        other = copy.copy(self)
        other._rank, other._ranks = rank, ranks
        return other

    def set_epoch(self, epoch):
        """Go to another epoch."""
        self.change = dataclasses.replace(self.change, epoch=epoch)
        self._set_up()

    def _checked(self, labels):
        """The labels as an array.

        Raises:
            ValueError: If one of them is missing.
        """
        labels = np.asarray(labels, "int64")
        if labels.min(initial=0) < 0:
            raise ValueError(f"An image of {self.source.name} has no label (it is below 0).")
        return labels

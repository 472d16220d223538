"""Writes the bundled sample, a tenth of Fashion-MNIST's test split that is as hard as the whole.

Of each class every tenth image is taken, in the order of the probability that a reference net
gives the true class, from the fifth on: a stratified sample, which strays less from the whole
than one by chance. The reference is the plain net `resnet20_fashion_mnist`.

KERAS_BACKEND=torch python tests/golden/make_sample.py runs/resnet20_fashion_mnist/model.safetensors
"""

import sys
from pathlib import Path

import keras
import numpy as np

from keras_pdenets.data import sample
from keras_pdenets.data.pipelines import DataSource
from keras_pdenets.hub.files import load_weights, read_checkpoint
from keras_pdenets.training.models import build_model

weights = Path(sys.argv[1])
model = build_model(read_checkpoint(weights))
load_weights(model, weights)
batches = DataSource("fashion_mnist", "test").batches(500)
images, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
logits = np.asarray(keras.ops.convert_to_numpy(model.predict(images, batch_size=500, verbose=0)))
probabilities = np.exp(logits - logits.max(1, keepdims=True))
confidence = probabilities[np.arange(len(labels)), labels] / probabilities.sum(1)
chosen = []
for label in range(10):
    members = np.flatnonzero(labels == label)
    chosen.append(members[np.argsort(confidence[members], kind="stable")][5::10])
order = np.sort(np.concatenate(chosen))
np.savez_compressed(sample._FILE, images=images[order].astype("uint8"), labels=labels[order])

"""The symmetry of a hyperbolic net, used: sparser weights for the same function, then pruning.

python examples/02_mix_channels.py            # on the bundled sample of 1,000 images
python examples/02_mix_channels.py --full     # on the 10,000 test images, from TFDS

With torch on one busy CPU core, --full took twenty minutes.
"""

import argparse

import keras
import numpy as np

import keras_pdenets
from keras_pdenets.plots import plot_kernels
from keras_pdenets.transforms import prune

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--full", action="store_true", help="evaluate on the whole test split")
parser.add_argument("--steps", type=int, default=1000, help="steps of the search")
parser.add_argument("--shares", type=float, nargs="+", default=[0.2, 0.3, 0.4, 0.5, 0.6])
options = parser.parse_args()

if options.full:
    batches = list(keras_pdenets.data.load_dataset("fashion_mnist", "test", 500))
    images = np.concatenate([np.asarray(x) for x, _ in batches])
    labels = np.concatenate([np.asarray(y) for _, y in batches]).ravel()
else:
    images, labels = keras_pdenets.data.load_sample()


def accuracy(model):
    """Percent of the images that the model gets right."""
    return 100 * np.mean(model.predict(images, batch_size=500, verbose=0).argmax(-1) == labels)


net = keras_pdenets.HyperbolicResNet56(weights="hub")
for symmetry in keras_pdenets.symmetry_group(net).values():
    print(symmetry)
print(f"accuracy {accuracy(net):.2f} % on {len(images):,} images")

print(f"\n{keras.config.backend()}; accuracy after pruning a share of every mixed kernel:")
print("net".ljust(24), *(f"{share:8.0%}" for share in options.shares))
print("as trained".ljust(24), *(f"{accuracy(prune(net, s)):8.2f}" for s in options.shares))
for seed in (None, 0, 1):
    sparse, report = keras_pdenets.sparsify(
        net, steps=options.steps, seed=seed, images=images[:100], verbose=0
    )
    start = "own basis" if seed is None else f"rotation {seed}"
    row = [f"{accuracy(prune(sparse, s)):8.2f}" for s in options.shares]
    print(f"sparse, from {start}".ljust(24), *row)
    print(f"    {report}; accuracy {accuracy(sparse):.2f} %")
    if seed is None:
        plot_kernels(
            {"as trained": net, "after sparsify": sparse},
            "stage2_block1_product",
            "mix_channels_output/weights.png",
        )

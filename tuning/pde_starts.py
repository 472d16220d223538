"""Other initial weights of a PDE net, as files that a recipe can `start` from.

python tuning/pde_starts.py tuning/zoo/fashion_mnist_20_pde.json --out runs/pde_starts

The draws depend on the backend (`KERAS_BACKEND`): JAX for fashion_mnist_20_pde_seeds.json.
`one_deviation.safetensors`: sigma, b and c of a layer share the one deviation that has He's second
moment, the correlated start that `operators.pde_initial_scales` avoids; `he_each.safetensors`: each
has the deviation that He's rule gives a kernel's entry, which dies out with depth.
"""

import argparse
from pathlib import Path

import keras
import numpy as np

from keras_pdenets.experiments import Protocol
from keras_pdenets.hub.files import write_weights
from keras_pdenets.layers import PDEConv2D
from keras_pdenets.operators.pde import pde_initial_scales
from keras_pdenets.training.models import build_model

# With all three equal to s, E||K||^2 = (2 s^2 + s^2)^2 + 44 s^4 = 53 s^4, which He wants to be 2/n.
DEVIATIONS = {
    "one_deviation": lambda n: (2 / n / 53) ** 0.25,
    "he_each": lambda n: np.sqrt(2 / (9 * n)),
}


def rescale(model, deviation):
    """Give the parameters of all PDE layers another deviation, with the same draws."""
    for layer in model.layers:
        if isinstance(layer, PDEConv2D):
            channels = layer.sigma.shape[1]
            scales = pde_initial_scales(channels, layer.normalize)
            for weight, scale in zip((layer.sigma, layer.b, layer.c), scales, strict=True):
                weight.assign(weight * (deviation(channels) / scale))


def main():
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("protocol", type=Path, help="its net `pde` is taken")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    protocol = Protocol.from_file(options.protocol)
    entry = next(entry for entry in protocol.entries if entry.name == "pde")
    checkpoint = protocol.recipe_of(entry, protocol.seeds[0]).checkpoint
    options.out.mkdir(parents=True, exist_ok=True)
    for name, deviation in DEVIATIONS.items():
        keras.utils.set_random_seed(protocol.seeds[0])
        model = build_model(checkpoint)
        rescale(model, deviation)
        write_weights(model, options.out / f"{name}.safetensors", checkpoint)
        print(options.out / f"{name}.safetensors")


if __name__ == "__main__":
    main()

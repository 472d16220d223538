"""What trained nets have learnt, in pictures: operators, trajectories, variances, robustness.

python examples/05_tour.py            # on the bundled sample of 1,000 images
python examples/05_tour.py --full     # on the 10,000 test images, from TFDS

Writes `tour_output/`, or the folder after --out. The pictures in `tuning/results/tour` are of the
sample. On one busy CPU core, with torch, that took nine minutes.
"""

import argparse
from pathlib import Path

import numpy as np

import keras_pdenets
from keras_pdenets import analysis, plots

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--full", action="store_true", help="measure on the whole test split")
parser.add_argument("--out", type=Path, default=Path("tour_output"), help="folder of the pictures")
parser.add_argument("--draws", type=int, default=3, help="draws of the noise")
options = parser.parse_args()

if options.full:
    batches = list(keras_pdenets.data.load_dataset("fashion_mnist", "test", 500))
    images = np.concatenate([np.asarray(x) for x, _ in batches])
    labels = np.concatenate([np.asarray(y) for _, y in batches]).ravel()
else:
    images, labels = keras_pdenets.data.load_sample()
names = keras_pdenets.get_preset("pde_resnet20_fashion_mnist").checkpoint.class_names

nets = {
    "ResNet": keras_pdenets.PreActResNet20(weights="hub"),
    "PDE": keras_pdenets.PDEPreActResNet20(weights="hub"),
    "decomposed": keras_pdenets.DecomposedPreActResNet20(weights="hub"),
    "plain": keras_pdenets.PlainNet20(weights="hub"),
    "refined plain": keras_pdenets.RefinedPlainNet20(weights="hub"),
    "hyperbolic": keras_pdenets.HyperbolicResNet56(weights="hub"),
}
pde, few = nets["PDE"], images[:500]


def picture(name):
    """Path of a picture; its name is printed."""
    print(options.out / name)
    return options.out / name


# The operators: each 3x3 kernel is a sum of derivatives with six learnt numbers.
layer = pde.get_layer("stage1_block1_conv0")
plots.plot_operators(layer, picture("operators.png"), f"{layer.name}: learnt operators")
symbols = analysis.fourier_symbols(layer)
plots.plot_fourier_symbols(symbols, picture("symbols.png"), f"{layer.name}: |Fourier symbol|")
plots.plot_path_integral({"PDE": analysis.path_integral(pde)}, picture("action.png"))

# Figure 4c of Yin et al. 2019: ways of the classes through the stages.
for name in ("ResNet", "PDE"):
    ways = analysis.trajectories(nets[name], images, labels)
    path = picture(f"trajectories_{name.lower()}.png")
    plots.plot_trajectories(ways, path, f"{name}: class means, two components a stage", names)

# Figure 5: with the shortcut the variance grows, without it it does not.
variances = {name: analysis.feature_variance(net, few) for name, net in nets.items()}
residual = {name: variances[name] for name in ("ResNet", "PDE", "decomposed")}
plots.plot_feature_variance(residual, picture("variance.png"), "with shortcut, and residual alone")
plots.plot_feature_variance(
    {name: variances[name] for name in ("plain", "refined plain")}, picture("variance_plain.png")
)

# Figure 7: noise in proportion to each weight.
noise = {
    name: analysis.weight_noise_robustness(net, images, labels, draws=options.draws)
    for name, net in nets.items()
}
plots.plot_weight_noise(noise, picture("robustness.png"), f"{options.draws} draws")
for name, curve in noise.items():
    print(name.ljust(16), *(f"{100 * accuracy:6.2f}" for accuracy in curve.mean))

# How an error travels, and how much of the net it takes.
gradients = {
    name: analysis.gradient_norms(nets[name], few, labels[:500])
    for name in ("ResNet", "PDE", "decomposed", "hyperbolic")
}
plots.plot_gradient_norms(gradients, picture("gradients.png"))
plots.plot_block_changes(
    analysis.drop_blocks(nets["ResNet"], few, labels[:500]), picture("dropped_blocks.png")
)
fields = [
    analysis.effective_receptive_field(pde, images[:100], f"stage{stage}_block2_add")
    for stage in range(3)
]
plots.plot_receptive_field(fields, picture("receptive_fields.png"))

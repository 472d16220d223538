# %% [markdown]
"""
# What trained nets have learnt

**You learn** to look into a net: its operators, the paths of the classes, variances, robustness,
gradients, and how much each block matters; each as numbers and as a picture.

**It takes** about two minutes on one CPU core; `pip install "keras-pdenets[plots]"` and a
backend. `python examples/05_tour.py --full` takes all of the bundled sample and three draws,
which made the pictures in `tuning/results/tour`: nine minutes on a busy core.
"""

# %%
import sys
from pathlib import Path

import keras_pdenets
from keras_pdenets import analysis, plots

FULL = "--full" in sys.argv
OUTPUT = Path("tour_output")
images, labels = keras_pdenets.data.load_sample()
if not FULL:
    images, labels = images[:150], labels[:150]
few, draws = (500, 3) if FULL else (50, 1)
names = keras_pdenets.get_preset("pde_resnet20_fashion_mnist").checkpoint.class_names

nets = {
    "ResNet": keras_pdenets.PreActResNet20(weights="hub"),
    "PDE": keras_pdenets.PDEPreActResNet20(weights="hub"),
    "decomposed": keras_pdenets.DecomposedPreActResNet20(weights="hub"),
    "plain": keras_pdenets.PlainNet20(weights="hub"),
    "refined plain": keras_pdenets.RefinedPlainNet20(weights="hub"),
}
if FULL:
    nets["hyperbolic"] = keras_pdenets.HyperbolicResNet56(weights="hub")
pde = nets["PDE"]

# %% [markdown]
# **Operators.** Each 3x3 kernel of a PDE layer is a sum of derivatives with six learnt
# coefficients.

# %%
layer = pde.get_layer("stage1_block1_conv0")
plots.plot_operators(layer, OUTPUT / "operators.png", f"{layer.name}: learnt operators")
symbols = analysis.fourier_symbols(layer)
plots.plot_fourier_symbols(symbols, OUTPUT / "symbols.png", f"{layer.name}: |Fourier symbol|")
plots.plot_path_integral({"PDE": analysis.path_integral(pde)}, OUTPUT / "action.png")
print(analysis.describe_operators(pde))

# %% [markdown]
# **Trajectories** (figure 4c of Yin et al. 2019): the class means on their way through the
# stages.

# %%
for name in ("ResNet", "PDE"):
    ways = analysis.trajectories(nets[name], images, labels)
    path = OUTPUT / f"trajectories_{name.lower()}.png"
    plots.plot_trajectories(ways, path, f"{name}: class means, two components a stage", names)

# %% [markdown]
# **Variance** (figure 5): with the shortcut it grows, without it it does not.

# %%
variances = {name: analysis.feature_variance(net, images[:few]) for name, net in nets.items()}
residual = {name: variances[name] for name in ("ResNet", "PDE", "decomposed")}
plots.plot_feature_variance(residual, OUTPUT / "variance.png", "with shortcut, and residual alone")
rest = {name: variances[name] for name in ("plain", "refined plain")}
plots.plot_feature_variance(rest, OUTPUT / "variance_plain.png")

# %% [markdown]
# **Robustness** (figure 7): accuracy with noise in proportion to each weight.

# %%
noise = {
    name: analysis.weight_noise_robustness(net, images, labels, draws=draws)
    for name, net in nets.items()
}
plots.plot_weight_noise(noise, OUTPUT / "robustness.png", f"{draws} draws")
for name, curve in noise.items():
    print(name.ljust(16), *(f"{100 * accuracy:6.2f}" for accuracy in curve.mean))

# %% [markdown]
# **Gradients, blocks, receptive fields**: how an error travels, what the net loses without a
# block, and which pixels a feature depends on.

# %%
gradients = {
    name: analysis.gradient_norms(nets[name], images[:few], labels[:few])
    for name in ("ResNet", "PDE", "decomposed")
}
plots.plot_gradient_norms(gradients, OUTPUT / "gradients.png")
dropped = analysis.drop_blocks(nets["ResNet"], images[:few], labels[:few])
plots.plot_block_changes(dropped, OUTPUT / "dropped_blocks.png")
fields = [
    analysis.effective_receptive_field(pde, images[: few // 5], f"stage{stage}_block2_add")
    for stage in range(3)
]
plots.plot_receptive_field(fields, OUTPUT / "receptive_fields.png")
print(*sorted(path.name for path in OUTPUT.glob("*.png")), sep="\n")

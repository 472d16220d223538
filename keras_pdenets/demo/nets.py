"""The table of the nets that the page shows side by side."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ShownNet:
    """One row.

    Args:
        key: Short name, also of its folder on the page.
        title: What the page calls it.
        preset: Name of the checkpoint.
        about: What it is, in a sentence.
        equation: What a block does, in HTML.
        fixed: Why it cannot take other steps; empty: it can.
    """

    key: str
    title: str
    preset: str
    about: str
    equation: str
    fixed: str = ""


_K = "<i>K</i><sub>2</sub> &sigma;(<i>K</i><sub>1</sub> &sigma;(<i>u</i>))"

SHOWN_NETS = (
    ShownNet(
        "plain", "Plain", "plain_net20_fashion_mnist",
        "Every layer replaces the features: no shortcuts, no steps.",
        "<i>u</i> &larr; &sigma;(<i>K u</i>)",
        "it has no steps, only layers",
    ),
    ShownNet(
        "resnet", "ResNet", "resnet20_fashion_mnist",
        "Every block adds a change to the features: one step of a flow.",
        f"<i>u</i> &larr; <i>u</i> + {_K}",
    ),
    ShownNet(
        "pde", "PDE", "pde_resnet20_fashion_mnist",
        "The same steps, but every kernel is a differential operator: six numbers, not nine.",
        f"<i>u</i> &larr; <i>u</i> + {_K}, &ensp;<i>K</i> = "
        "<i>d</i><sub>xx</sub>&part;<sub>xx</sub> + <i>d</i><sub>yy</sub>&part;<sub>yy</sub> + "
        "<i>d</i><sub>xy</sub>&part;<sub>xy</sub> + <i>d</i><sub>x</sub>&part;<sub>x</sub> + "
        "<i>d</i><sub>y</sub>&part;<sub>y</sub> + <i>d</i>",
    ),
    ShownNet(
        "decomposed", "Decomposed", "decomposed_resnet20_fashion_mnist",
        "The same steps, but every kernel is a row of three pixels, then a column.",
        f"<i>u</i> &larr; <i>u</i> + {_K}, &ensp;<i>K</i> = <i>K</i><sub>y</sub> "
        "<i>K</i><sub>x</sub>",
    ),
    ShownNet(
        "hyperbolic", "Hyperbolic", "hyperbolic_resnet56_fashion_mnist",
        "Products of features and their derivatives in place of activations.",
        "<i>u</i> &larr; <i>u</i> + <i>g</i> &sum; <i>a</i>(<i>u</i>) &part;<i>u</i>",
        "each of its stages ends in an activation that may act only once",
    ),
)  # fmt: skip

"""The options of residual blocks as steps of a differential equation x' = F(x)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from keras_pdenets.blocks.steps import BLOCK_SCHEMES, Step
from keras_pdenets.builders.common import check_depth
from keras_pdenets.builders.remat import REMAT_OPTIONS
from keras_pdenets.operators.flows import SCHEMES
from keras_pdenets.utils.checks import as_number

STEP_OPTIONS = {
    "zero_start": "Whether the residual branches are zero-initialised (last convolution, or last "
    "batch norm, of each block), so that the untrained block is its shortcut.",
    "step_size": 'Step size h, a factor of the residual branches: a positive number, `"1/L"` with '
    "L blocks in the section, or None for 1.",
    "scheme": 'Scheme of the blocks whose shortcut is the identity: `"euler"`; `"midpoint"` or '
    '`"rk4"`, which call the branch 2 or 4 times (batch norm treats every call as a batch: it '
    "normalises by its statistics, and updates its averages with each); or "
    '`"backward_euler"` (`layers.BackwardEulerStep`; its branches have biases instead of batch '
    "norms and compute in float32), which needs small initial branches: "
    "`zero_start=True`, or h of at most 1/3.",
    "leak": "beta of nonexpansive blocks (1 - beta) x + alpha F(x), with alpha = min(h, "
    "beta / L) for a bound L of F's Lipschitz constant (`layers.ScaledResidual`; F has biases "
    'instead of batch norms): a number in (0, 1), `"1/depth"` with depth blocks in the net, or '
    "None.",
    "stochastic_depth": "Share of the examples that skip the last block in training, in [0, 1); "
    "for block l of n it is l / n times that, and the steps of the other examples are scaled by "
    "1 / (1 - share) (Huang et al. 2016, arXiv 1603.09382).",
}
# Initialisations of the residual branches, as searches and sweeps name them.
STARTS: dict[str, dict[str, Any]] = {
    "zero": {"zero_start": True},
    "1/L": {"step_size": "1/L"},
    "ordinary": {},
}
# Options that do not affect a trained net, so that checkpoints ignore them.
TRAINING_ONLY = (*REMAT_OPTIONS, "stochastic_depth")

# Untrained nets of 4 to 16 filters converged for 24 of 24 seeds at 1/3, for 22 at 1/2.
_LARGEST = 1 / 3


@dataclass(frozen=True)
class ResidualConfig:
    """Base of the architectures of residual nets.

    Args:
        num_blocks: Number of blocks in each section, or one number for all.
        operator: Key of `blocks.operators.OPERATORS`.
        operator_options: Arguments of the operator's layer, such as `boundary`.
        zero_start: Whether the residual branches are zero-initialised.
        step_size: Constant factor of the residual branches: a number, `"1/L"` or None.
        scheme: `"euler"`, `"midpoint"`, `"rk4"` or `"backward_euler"` (see `STEP_OPTIONS`).
        leak: None, a number in (0, 1) or `"1/depth"` (see `layers.ScaledResidual`).
        stochastic_depth: Share of the examples that skip the last block in training.
        filters: Width of each section.
        remat: Whether training uses gradient checkpointing of the blocks.
    """

    num_blocks: tuple[int, ...] | int
    operator: str = "conv"
    operator_options: Mapping[str, Any] = field(default_factory=dict)
    zero_start: bool = False
    step_size: float | str | None = None
    scheme: str = "euler"
    leak: float | str | None = None
    stochastic_depth: float = 0.0
    filters: tuple[int, ...] = ()
    remat: bool = False

    def __post_init__(self):
        """Expand `num_blocks` to one number per section; check the steps."""
        object.__setattr__(self, "num_blocks", check_depth(self.num_blocks, len(self.filters)))
        check_steps(self)

    @property
    def blocks(self):
        """Number of blocks."""
        return sum(self.num_blocks)

    @property
    def depth(self):
        """Number of layers in sequence: two for each call of a block's branch."""
        return 2 * self.blocks * len(getattr(SCHEMES.get(self.scheme), "weights", (1,)))


def check_steps(config):
    """Raise a ValueError unless the fields of a config that `STEP_OPTIONS` names are valid.

    NumPy's numbers become Python's, for JSON.
    """
    for name in ("step_size", "leak", "stochastic_depth"):
        number = as_number(getattr(config, name))
        if number is not None:
            object.__setattr__(config, name, number)
    h, leak, skipped = config.step_size, config.leak, config.stochastic_depth
    depth = sum(config.num_blocks)
    for name, holds, rule in (
        ("zero_start", isinstance(config.zero_start, bool), "be True or False"),
        ("step_size", h is None or h == "1/L" or (as_number(h) or 0) > 0,
         "be a positive number, '1/L' or None"),
        ("scheme", isinstance(config.scheme, str) and config.scheme in BLOCK_SCHEMES,
         f"be one of {', '.join(BLOCK_SCHEMES)}"),
        ("leak", leak is None or (leak == "1/depth" and depth > 1)
         or 0 < (as_number(leak) or 0) < 1,
         "be in (0, 1), '1/depth' for at least two blocks, or None"),
        ("leak", leak is None or config.scheme == "euler",
         "be None unless scheme='euler'"),
        ("stochastic_depth", as_number(skipped) is not None and 0 <= skipped < 1, "be in [0, 1)"),
    ):  # fmt: skip
        if not holds:
            raise ValueError(f"`{name}` must {rule}. Received: {name}={getattr(config, name)!r}")
    if leak is not None and (1 / depth if leak == "1/depth" else leak) > 1 - skipped:
        raise ValueError(
            "`leak` must not be above 1 - stochastic_depth: the remaining steps are scaled up "
            f"beyond the bound. Received: leak={leak!r}, stochastic_depth={skipped}"
        )
    if config.scheme == "backward_euler" and not config.zero_start:
        steps = [make_step(config, stage, 0).step_size for stage in range(len(config.num_blocks))]
        if any(step is None or step > _LARGEST for step in steps):
            raise ValueError(
                "`scheme='backward_euler'` needs zero_start=True, or a `step_size` of at most 1/3 "
                "in every section: new branches have eigenvalues between 1 and 2, for which the "
                f"equation of a block may have no solution. Received: step_size={h!r}, "
                f"num_blocks={config.num_blocks}"
            )


def make_step(config, stage, block):
    """The `Step` of a block."""
    depth, blocks = sum(config.num_blocks), config.num_blocks[stage]
    number = sum(config.num_blocks[:stage]) + block + 1
    return Step(
        zero=config.zero_start,
        step_size=1 / blocks if config.step_size == "1/L" else config.step_size,
        scheme=config.scheme,
        leak=1 / depth if config.leak == "1/depth" else config.leak,
        drop=config.stochastic_depth * number / depth,
    )

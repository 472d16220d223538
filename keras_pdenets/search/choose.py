"""The oracles by name."""

import itertools

import keras_tuner

from keras_pdenets.compat.keras_tuner import draw_often, first_round_sizes
from keras_pdenets.search.depth_oracle import DepthOracle
from keras_pdenets.search.oracles import (
    OBJECTIVE,
    BayesianOracle,
    HyperbandOracle,
    ListOracle,
    RandomOracle,
    declare_combination,
)
from keras_pdenets.utils.checks import check_choice


def make_oracle(kind, space, max_trials=None):
    """An oracle over a `SearchSpace`: one of `ORACLES`.

    Args:
        kind: `"depth"` (the stopping rule), `"grid"`, `"random"`, `"bayesian"` or `"hyperband"`.
        space: The `SearchSpace`.
        max_trials: Largest number of trials, for all but Hyperband; required for random and
            Bayesian search.

    Raises:
        ValueError: If the kind is unknown, `max_trials` is missing or not allowed, or the space is
            too small for Hyperband.

    Example:
    >>> from keras_pdenets.search import SearchSpace, make_oracle
    >>> oracle = make_oracle("grid", SearchSpace(depths=(1, 2), learning_rates=(1e-3, 3e-3)))
    >>> len(oracle.candidates)
    4
    """
    check_choice("kind", kind, ORACLES)
    # KerasTuner's defaults give up too early: failures say little about the other choices.
    common = {"max_retries_per_trial": 1, "max_consecutive_failed_trials": 10}
    if kind == "hyperband":
        if max_trials is not None:
            raise ValueError(
                "`max_trials` must be None for Hyperband, whose trials follow from the space's "
                f"`epochs`. Received: max_trials={max_trials}"
            )
        common["max_epochs"] = space.epochs
    else:
        common["max_trials"] = max_trials
    if kind == "depth":
        return DepthOracle(space, **common)
    if kind in ("random", "bayesian") and max_trials is None:
        raise ValueError(f"`max_trials` must be given for {kind} search. Received: None")
    hyperparameters = keras_tuner.HyperParameters()
    hyperparameters.Choice("depth", list(space.depths), default=space.depths[0], ordered=True)
    declare_combination(hyperparameters, space)
    # KerasTuner treats the seed 0 as none.
    common |= {"objective": OBJECTIVE, "hyperparameters": hyperparameters, "seed": space.seed + 1}
    if kind == "grid":
        grid = itertools.product(space.depths, space.combinations)
        return ListOracle([{"depth": n, **combination} for n, combination in grid], **common)
    if kind == "hyperband":
        _check_hyperband(space)
    oracle = ORACLES[kind](**common)
    # It draws with replacement: with its own 20 draws it would miss remaining choices.
    draw_often(oracle, 100 * len(space.depths) * len(space.combinations))
    return oracle


ORACLES = {
    "depth": DepthOracle,
    "grid": ListOracle,
    "random": RandomOracle,
    "bayesian": BayesianOracle,
    "hyperband": HyperbandOracle,
}


def _check_hyperband(space):
    """Raise ValueError for fewer choices than Hyperband's brackets hold."""
    oracle = keras_tuner.oracles.HyperbandOracle(max_epochs=space.epochs)
    needed = sum(first_round_sizes(oracle))
    choices = len(space.depths) * len(space.combinations)
    if choices < needed:
        raise ValueError(
            f"`space` must have at least {needed} choices for Hyperband with {space.epochs} "
            f"epochs: with fewer it ends after one-epoch trials. Received: {choices} choices; add "
            "learning rates, widths or depths, or lower `epochs`"
        )

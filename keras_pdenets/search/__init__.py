"""Search for the depth of a net by the stopping rule, with KerasTuner."""

from keras_pdenets.utils.extras import require

require("keras_tuner", "tune")

from keras_pdenets.search.choose import make_oracle as make_oracle  # noqa: E402
from keras_pdenets.search.depth_oracle import DepthOracle as DepthOracle  # noqa: E402
from keras_pdenets.search.hypermodel import DepthHyperModel as DepthHyperModel  # noqa: E402
from keras_pdenets.search.plan import GrowthRules as GrowthRules  # noqa: E402
from keras_pdenets.search.results import SearchResult as SearchResult  # noqa: E402
from keras_pdenets.search.run import run_search as run_search  # noqa: E402
from keras_pdenets.search.space import SearchSpace as SearchSpace  # noqa: E402
from keras_pdenets.search.tuner import DepthTuner as DepthTuner  # noqa: E402

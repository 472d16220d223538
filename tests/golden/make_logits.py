"""Writes `logits.json`: logits of nets with fixed weights, on the backend at hand.

KERAS_BACKEND=torch PYTHONPATH=tests python tests/golden/make_logits.py
"""

import json

import numpy as np
from conftest import build, fill
from test_models import GOLDEN, GOLDEN_CONFIGS, GOLDEN_NAMES

images = np.random.default_rng(0).uniform(0, 255, (4, 16, 16, 3)).astype("float32")
nets = {name: (name, None) for name in GOLDEN_NAMES} | GOLDEN_CONFIGS
logits = {
    name: np.asarray(fill(build(row, config=config)).predict(images, verbose=0)).tolist()
    for name, (row, config) in nets.items()
}
GOLDEN.write_text(json.dumps(logits) + "\n", encoding="utf-8")

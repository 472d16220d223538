"""Records and golden files of strangers, out of a seeded generator: refused, or what they say.

KERAS_PDENETS_FUZZ=10000 pytest -s tests/test_hostile_records.py takes 1000 records and as many
golden files, some minutes.
"""

import dataclasses
import json
import math
import os
import random
import resource
import sys
import time

import keras
import numpy as np
import pytest
from conftest import build, fill

import keras_pdenets
from keras_pdenets import applications
from keras_pdenets.analysis.verification import record_golden, verify
from keras_pdenets.hub.errors import WeightsError
from keras_pdenets.hub.files import load_weights, read_checkpoint, write_weights
from keras_pdenets.hub.golden import GOLDEN_FILE, read_golden, write_golden
from keras_pdenets.presets import ARCHITECTURES, Checkpoint

COUNT = int(os.environ.get("KERAS_PDENETS_FUZZ", 600)) // 10
SLOWEST = 20.0
MOST_MEMORY = 500 * 1024  # KiB

pytestmark = pytest.mark.once

SMALL = {"num_blocks": 1, "filters": [4, 4, 4]}
PLAIN = {"num_layers": [1, 1, 1], "filters": [4, 4, 4], "stem": "cifar"}
NETS = [
    ("preact_resnet20", SMALL),
    ("pde_preact_resnet20", SMALL),
    ("decomposed_preact_resnet20", SMALL),
    ("hyperbolic_resnet20", {**SMALL, "multiplier": 2}),
    ("refined_plain_net20", {**PLAIN, "steps": 2, "promote": "channel"}),
    ("resnet18", {"num_blocks": [1] * 4, "filters": [4] * 4, "stem": "cifar"}),
]
NUMBERS = [0, -1, 1, 2, 3, 5, 7, 30, 84, 130, 10**3, 3 * 10**4, 10**6, 2 * 10**7, 10**9, 2**31,
           2**62, 2**70, 10**400, 0.5, 1e-300, 1e300, 1e400, -0.0, True, False, None]  # fmt: skip
WORDS = ["", "x", "rk4", "backward_euler", "midpoint", "1/L", "1/depth", "conv", "pde", "cp",
         "full", "imagenet", "basic", "bottleneck", "reflect", "input", "relu", "softball",
         "\ud800", "\x1b[31m", "a" * 300, "os.system", "../x"]  # fmt: skip
FIELDS = ["architecture", "input_shape", "classes", "options", "mean", "std", "class_names", "x"]
INNER = ["boundary", "degree", "mid_filters", "normalize", "kernel_initializer"]


def _value(rng, deep=True):
    kind = rng.randrange(6 if deep else 2)
    if kind == 0:
        return rng.choice(WORDS)
    if kind in (1, 2):
        return rng.choice(NUMBERS)
    if kind == 3:
        return [_value(rng, False) for _ in range(rng.choice((0, 1, 3, 3, 3, 4, 50)))]
    if kind == 4:
        return [rng.choice(NUMBERS)] * rng.choice((1, 3, 4))
    return {rng.choice(INNER): _value(rng, False)}


def _changed_record(rng, record):
    family = ARCHITECTURES[record["architecture"]].family
    known = {field.name: field.default for field in dataclasses.fields(family.config)}
    for _ in range(rng.choice((0, 1, 1, 1, 2, 4))):
        if rng.random() < 0.7:
            name = rng.choice((*known, "dtype", "name") if rng.random() < 0.9 else FIELDS)
            # The usual value too: what is left out of a record may stand in it.
            usual = known.get(name, dataclasses.MISSING)
            if rng.random() < 0.3 and usual is not dataclasses.MISSING:
                record["options"].setdefault(name, usual)
            else:
                record["options"][name] = _value(rng)
        elif rng.random() < 0.2:
            record["architecture"] = rng.choice(list(ARCHITECTURES))
        else:
            record[rng.choice(FIELDS)] = _value(rng)
        if not isinstance(record.get("options"), dict):
            break


def _changed_tensors(rng, tensors):
    """The classifier gone, an axis of another length, tensors that pretend a width."""
    for _ in range(rng.choice((0, 0, 1, 3))):
        kind = rng.randrange(4)
        if kind == 0:
            tensors.pop("classifier/kernel", None)
            if rng.random() < 0.7:
                tensors.pop("classifier/bias", None)
        elif kind == 1:
            name = rng.choice(list(tensors))
            shape = list(tensors[name]) or [1]
            shape[rng.randrange(len(shape))] = rng.choice((0, 1, 5, 30, 1000, 3 * 10**4))
            if math.prod(shape) <= 10**5:
                tensors[name] = shape
        elif kind == 2:
            width = rng.choice((0, 1, 3 * 10**4, 10**5))
            tensors[rng.choice(("x", "classifier/x", "head_bn0/gamma"))] = [width]
        else:
            for index in range(rng.choice((10, 300))):
                tensors[f"stage0_block{index}_bn0/gamma"] = [rng.choice((1, 4))]


def _file(rng, path, name, options, shapes):
    record = {"architecture": name, "input_shape": [8, 8, 1], "classes": 3, "mean": [70.0],
              "std": [90.0], "class_names": [], "options": dict(options)}  # fmt: skip
    tensors = dict(shapes)
    _changed_record(rng, record)
    _changed_tensors(rng, tensors)
    header, place = {"__metadata__": {"keras_pdenets": json.dumps(record)}}, 0
    for tensor, shape in tensors.items():
        size = 4 * math.prod(shape)
        header[tensor] = {
            "dtype": "F32",
            "shape": list(shape),
            "data_offsets": [place, place + size],
        }
        place += size
    text = json.dumps(header).encode()
    values = np.random.default_rng(0).uniform(0.1, 1, place // 4).astype("<f4").tobytes()
    path.write_bytes(len(text).to_bytes(8, "little") + text + values)


def _peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _took(call, *args, also=()):
    """What is found or None, and seconds; any error but those documented goes through."""
    start, message = time.monotonic(), ""
    try:
        found = call(*args)
    except (WeightsError, *also) as error:
        found, message = None, str(error)
    message.encode("utf-8")
    assert not message or message.isprintable(), ascii(message)
    return found, time.monotonic() - start


def test_hostile_records(tmp_path):
    path, rng = tmp_path / "model.safetensors", random.Random(0)
    shapes = {}
    for name, options in NETS:
        model = build(name, side=8, channels=1, classes=3, config=options)
        shapes[name] = {v.path: list(v.shape) for v in model.weights}
    # What the first net of a builder brings is no file's.
    keras_pdenets.PreActResNet20(weights=None, input_shape=(8, 8, 1), classes=3)
    before, slowest = _peak(), 0.0
    counts = {"refused": 0, "read": 0, "built": 0}
    for _ in range(COUNT):
        name, options = rng.choice(NETS)
        _file(rng, path, name, options, shapes[name])
        checkpoint, seconds = _took(read_checkpoint, path)
        slowest = max(slowest, seconds)
        if checkpoint is None:
            counts["refused"] += 1
            # The builder that the file may name says the same.
            model, seconds = _took(_built, path, name)
            assert model is None
        else:
            counts["read"] += 1
            model, seconds = _took(_built, path, checkpoint.architecture)
            if model is not None:
                counts["built"] += 1
                _is_what_the_file_says(model, checkpoint)
        slowest = max(slowest, seconds)
    grown = _peak() - before
    sys.stdout.write(f"{counts}, slowest {slowest:.2f} s, {grown / 1024:.0f} MiB more\n")
    assert slowest < SLOWEST
    assert grown < MOST_MEMORY
    assert counts["refused"] > counts["read"] > 0
    assert counts["built"]


def _built(path, name):
    return getattr(applications, ARCHITECTURES[name].builder)(weights=path)


def _is_what_the_file_says(model, checkpoint):
    assert model.output_shape == (None, checkpoint.classes)
    assert model.input_shape == (None, *checkpoint.input_shape)
    assert len(model.load_report.loaded) == len(model.weights)
    for variable in model.weights:
        value = keras.ops.convert_to_numpy(variable)
        assert ((value >= 0.1) & (value <= 1)).all()


def test_hostile_golden_files(tmp_path):
    checkpoint = Checkpoint("preact_resnet20", (8, 8, 1), 3, SMALL, (70.0,), (90.0,))
    weights, bad = tmp_path / "model.safetensors", tmp_path / GOLDEN_FILE
    model = fill(build("preact_resnet20", side=8, channels=1, classes=3, config=SMALL,
                       preprocessing=checkpoint.preprocessing))  # fmt: skip
    write_weights(model, weights, checkpoint)
    load_weights(model, weights)
    write_golden(record_golden(model, np.full((3, 8, 8, 1), 9)), bad)
    data, rng = bad.read_bytes(), random.Random(0)
    before, slowest = _peak(), 0.0
    counts = {"refused": 0, "read": 0, "agree": 0}
    for _ in range(COUNT):
        bad.write_bytes(_changed_golden(rng, data))
        golden, seconds = _took(read_golden, bad)
        slowest = max(slowest, seconds)
        counts["refused" if golden is None else "read"] += 1
        if golden is not None and rng.random() < 0.2:
            # ValueError: most of the layers have other names.
            report, seconds = _took(verify, model, bad, also=(ValueError,))
            slowest = max(slowest, seconds)
            if report is not None and report.agrees:
                counts["agree"] += 1
                missing = [v.path for v in model.weights if v.path not in golden.weights]
                assert list(report.uncompared) == missing
                assert str(report).endswith("as published") == (not missing)
    grown = _peak() - before
    sys.stdout.write(f"{counts}, slowest {slowest:.2f} s, {grown / 1024:.0f} MiB more\n")
    assert slowest < SLOWEST
    assert grown < MOST_MEMORY
    assert counts["refused"] > 0 < counts["read"]


def _changed_golden(rng, data):
    """One of six kinds of damage: shapes, texts, names, digests, numbers, bits."""
    end = 8 + int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8:end]), bytearray(data[end:])
    record = json.loads(header["__metadata__"]["keras_pdenets_golden"])
    kind = rng.randrange(6)
    if kind == 0:
        entry = header[rng.choice(("inputs", "logits", "fingerprints"))]
        entry["shape"][rng.randrange(len(entry["shape"]))] = rng.choice((0, 1, 2**62, 2**70, -1))
        if rng.random() < 0.3:
            entry["shape"] = [rng.choice((0, 2**62, 3)) for _ in range(4)]
    elif kind == 1:
        record[rng.choice(("layers", "weights", "x"))] = _value(rng)
    elif kind == 2:
        place = rng.randrange(len(record["layers"]))
        record["layers"][place] = rng.choice((*WORDS, record["layers"][0], 3))
    elif kind == 3:
        name = rng.choice(list(record["weights"]))
        if rng.random() < 0.5:
            del record["weights"][name]
        else:
            record["weights"][name] = rng.choice(("0" * 16, "0" * 15, 3, None, "\ud800" * 16))
    elif kind == 4:
        place = rng.randrange(0, len(body) - 4, 4)
        body[place : place + 4] = np.float32(
            rng.choice((np.nan, np.inf, -np.inf, -1, 1e30, 300))
        ).tobytes()
    else:
        for _ in range(rng.choice((1, 8))):
            body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
    header["__metadata__"]["keras_pdenets_golden"] = json.dumps(record)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(body)

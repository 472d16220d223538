"""Weight files from strangers: bad headers, records that lie, and many random mutations.

KERAS_PDENETS_FUZZ=10000 pytest -s -k mutations tests/test_weight_files.py takes a minute or two.
"""

import dataclasses
import json
import os
import random
import resource
import sys
import time

import keras
import numpy as np
import pytest
from conftest import BACKEND, build, fill
from safetensors.numpy import load_file

import keras_pdenets
from keras_pdenets.hub.digests import sha256_of
from keras_pdenets.hub.errors import IntegrityError, WeightsError
from keras_pdenets.hub.files import load_weights, read_checkpoint, write_weights
from keras_pdenets.hub.weight_file import MOST_HEADER_BYTES, MOST_TENSORS, WeightFile
from keras_pdenets.presets import Checkpoint

once = pytest.mark.once

SMALL = {"num_blocks": 1, "filters": [4, 4, 4]}
CHECKPOINT = Checkpoint("preact_resnet20", (8, 8, 1), 3, SMALL, (70.0,), (90.0,), ("a", "b", "c"))
COUNT = int(os.environ.get("KERAS_PDENETS_FUZZ", 300))
SLOWEST = 20.0


def _model():
    config = {"num_blocks": 1, "filters": (4, 4, 4)}
    options = {"config": config, "preprocessing": CHECKPOINT.preprocessing}
    return build("preact_resnet20", side=8, channels=1, classes=3, **options)


@pytest.fixture(scope="module")
def model():
    return _model()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    write_weights(fill(_model()), path, CHECKPOINT)
    return path


def _values(model):
    return {v.path: np.array(keras.ops.convert_to_numpy(v)) for v in model.weights}


def _parts(data):
    """Header and data of a file."""
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]


def _joined(header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def _edited(path, tmp_path, change):
    """The file with another header, or, where `change` returns bytes, with these for a header."""
    header, data = _parts(path.read_bytes())
    changed = change(header)
    target = tmp_path / "bad.safetensors"
    target.write_bytes(_joined(header if changed is None else changed, data))
    return target


def test_the_reader_reads_what_the_library_reads(file):
    with WeightFile(file) as read:
        found = {name: read.tensor(name) for name in read.header.tensors}
    wanted = load_file(file)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value)


# --- headers -----------------------------------------------------------------------------------

NAME, OTHER = "classifier/kernel", "classifier/bias"


def _set(name, **values):
    return lambda header: header[name].update(values)


def _shifted(by):
    def change(header):
        header[NAME]["data_offsets"] = [n + by for n in header[NAME]["data_offsets"]]

    return change


HEADERS = [
    ("no JSON", lambda h: b"{nonsense", "is not JSON"),
    ("no text", lambda h: b"\xff\xfe{}", "is not JSON"),
    ("a list", lambda h: b"[]", "is not a record"),
    ("nested too deep", lambda h: b"[" * 100_000, "nested too deep"),
    ("a key twice", lambda h: b'{"a":1,"a":2}', "duplicate key"),
    ("an endless number", lambda h: b'{"a":' + b"9" * 5000 + b"}", "is not JSON"),
    ("NaN for a number", lambda h: b'{"a":NaN}', "NaN is not a number"),
    ("larger than allowed", lambda h: b"{" + b" " * MOST_HEADER_BYTES + b"}", "are allowed"),
    ("too many tensors", lambda h: {str(i): 0 for i in range(MOST_TENSORS + 1)}, "are allowed"),
    ("overlap", _shifted(-4), "overlaps the previous|follows a gap"),
    ("gap", _shifted(4), "follows a gap"),
    ("out of range", _shifted(10**9), "follows a gap|overlaps"),
    ("negative place", _shifted(-(10**9)), "invalid data_offsets"),
    ("2^80", _shifted(2**80), "invalid data_offsets"),
    ("bytes left over", lambda h: h.pop("stem_conv/kernel") and None, "announces|gap|overlaps"),
    ("shape too large", _set(NAME, shape=[2**40, 2**20]), "do not match its shape"),
    ("negative shape", _set(NAME, shape=[-4, -3]), "an invalid shape"),
    ("true for a number", _set(OTHER, shape=[True]), "an invalid shape"),
    ("many axes", _set(NAME, shape=[1] * 40 + [12]), "an invalid shape"),
    ("shape of texts", _set(NAME, shape=["4", "3"]), "an invalid shape"),
    ("three places", _set(NAME, data_offsets=[0, 4, 8]), "invalid data_offsets"),
    ("integers", _set(NAME, dtype="I32"), "of type I32; weights are F16, F32, F64"),
    ("no such type", _set(NAME, dtype=["F32"]), "of type "),
    ("no shape", lambda h: h[NAME].pop("shape") and None, "without dtype, shape"),
    ("a number for a tensor", lambda h: h.update({NAME: 3}), "without dtype, shape"),
    ("metadata that are none", lambda h: h.update(__metadata__=[1]), "metadata that are not"),
]  # fmt: skip


@once
@pytest.mark.parametrize(("change", "message"), [row[1:] for row in HEADERS],
                         ids=[row[0] for row in HEADERS])  # fmt: skip
def test_bad_headers(change, message, file, model, tmp_path):
    bad = _edited(file, tmp_path, change)
    for read in (read_checkpoint, lambda path: load_weights(model, path)):
        with pytest.raises(WeightsError, match=r"is not a valid safetensors file") as caught:
            read(bad)
        assert any(part in str(caught.value) for part in message.split("|")), caught.value


@once
def test_a_huge_header_allocates_nothing(model, tmp_path):
    bad = tmp_path / "bad.safetensors"
    with bad.open("wb") as stream:
        stream.write((2**33).to_bytes(8, "little"))
        stream.truncate(2**33 + 8)  # 8 GiB of nothing, which the disk does not hold either
    start = time.monotonic()
    with pytest.raises(WeightsError, match="a header of 8589934592 bytes; 4194304 are allowed"):
        load_weights(model, bad)
    for length in (2**63, 2**64 - 1):
        bad.write_bytes(length.to_bytes(8, "little") + b"{}")
        with pytest.raises(WeightsError, match=f"a header of {length} bytes announced"):
            load_weights(model, bad)
    assert time.monotonic() - start < SLOWEST


@once
def test_what_is_no_file(model, tmp_path):
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    for path in (tmp_path / "pipe", tmp_path, "/dev/zero"):
        with pytest.raises(WeightsError, match="is not a file"):
            load_weights(model, path)
    with pytest.raises(WeightsError, match="There is no weight file"):
        load_weights(model, tmp_path / "pipe" / "model.safetensors")
    with pytest.raises(ValueError, match="`path` must be a path"):
        load_weights(model, "a\0b")
    for data in (b"", b"\x08", b"version https://git-lfs.github.com/spec/v1\n"):
        (tmp_path / "short").write_bytes(data)
        with pytest.raises(WeightsError, match="not a valid safetensors file"):
            load_weights(model, tmp_path / "short")


@once
def test_names_cannot_write_to_the_terminal(file, model, tmp_path):
    def change(header):
        header["\x1b[31mred\n" + "x" * 500] = header.pop(NAME)

    with pytest.raises(WeightsError, match="belongs to another model") as caught:
        load_weights(model, _edited(file, tmp_path, change))
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 600


ESCAPES = "classifier/\u202e\x1b[31m\n"


@once
def test_lone_surrogates_are_refused_and_escapes_are_shown_as_such(file, model, tmp_path):
    """Names that no terminal can show, in the report, in every message, in the metadata."""

    def head(name):
        return lambda header: header.update({name: header.pop("classifier/kernel")})

    def metadata(header):
        header["__metadata__"]["\ud800"] = "\udfff\x1b"

    for change in (head("classifier/\ud800"), metadata):
        broken = _edited(file, tmp_path, change)
        for read in (lambda path: load_weights(model, path), read_checkpoint):
            with pytest.raises(WeightsError, match="not UTF-8") as caught:
                read(broken)
            _shows(str(caught.value))
    renamed = _edited(file, tmp_path, head(ESCAPES))
    for read in (lambda path: load_weights(model, path), read_checkpoint):
        with pytest.raises(WeightsError) as caught:
            read(renamed)
        _shows(str(caught.value))
    headless = build("preact_resnet20", side=8, channels=1, config={**SMALL, "filters": (4, 4, 4)},
                     include_top=False, preprocessing=CHECKPOINT.preprocessing)  # fmt: skip
    report = load_weights(headless, renamed)
    assert ESCAPES in report.unused
    _shows(str(report))
    assert "classifier/\\u202e\\x1b[31m\\n" in str(report)


def _shows(text):
    text.encode("utf-8")
    assert text.isprintable(), ascii(text)


@once
@pytest.mark.parametrize("name", ["a\nb", "\x1b[31mred", "\ud800", "\u202eabc", "\x7f"])
def test_class_names_can_be_shown(name, file, tmp_path):
    with pytest.raises(ValueError, match="`class_names` must be printable strings"):
        dataclasses.replace(CHECKPOINT, class_names=("a", "b", name))

    def change(header):
        record = json.loads(header["__metadata__"]["keras_pdenets"])
        record["class_names"][2] = name
        header["__metadata__"]["keras_pdenets"] = json.dumps(record)

    match = "not UTF-8" if name == "\ud800" else "printable strings"
    with pytest.raises(WeightsError, match=match) as caught:
        read_checkpoint(_edited(file, tmp_path, change))
    _shows(str(caught.value))


@once
def test_class_names_of_any_language():
    names = ("Straße", "नमस्\u200dते", "👩\u200d🚒")  # with joiners
    assert dataclasses.replace(CHECKPOINT, class_names=names).class_names == names


# --- values ------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nonfinite_values_load_only_when_asked(bad, file, tmp_path):
    header, data = _parts(file.read_bytes())
    start = header[OTHER]["data_offsets"][0]
    data = data[:start] + np.float32(bad).tobytes() + data[start + 4 :]
    path = tmp_path / "nan.safetensors"
    path.write_bytes(_joined(header, data))
    model = _model()
    before = _values(model)
    with pytest.raises(WeightsError, match=f"{OTHER} holds NaN or inf.*allow_nonfinite=True"):
        load_weights(model, path)
    for name, value in before.items():
        np.testing.assert_array_equal(_values(model)[name], value)
    with pytest.warns(RuntimeWarning, match="NaN or infinite values, loaded because of allow"):
        load_weights(model, path, allow_nonfinite=True)
    assert not np.isfinite(_values(model)[OTHER][0])


@once
def test_numbers_too_large_for_32_bits_are_infinite(file, model, tmp_path):
    header, data = _parts(file.read_bytes())
    header[OTHER].update(dtype="F64")
    start, end = header[OTHER]["data_offsets"]
    for entry in header.values():
        if entry.get("data_offsets", [0])[0] >= end:
            entry["data_offsets"] = [n + 12 for n in entry["data_offsets"]]
    header[OTHER]["data_offsets"] = [start, start + 24]
    path = tmp_path / "wide.safetensors"
    wide = np.array([1e300, 1, 2]).tobytes()
    path.write_bytes(_joined(header, data[:start] + wide + data[end:]))
    with pytest.raises(WeightsError, match="NaN or infinite"):
        load_weights(model, path)


def test_a_pinned_file_is_that_file(file):
    model, right = _model(), sha256_of(file)
    load_weights(model, file, sha256=right)
    with pytest.raises(IntegrityError, match=f"hash {right}; expected is 000"):
        load_weights(model, file, sha256="0" * 64)


def test_a_file_of_another_net_is_refused_before_its_bytes_are_read(tmp_path, model):
    """Whatever hash is wanted: this one is larger than the memory."""
    count = 2**36
    header = {"x": {"dtype": "F32", "shape": [count], "data_offsets": [0, 4 * count]}}
    path = tmp_path / "huge.safetensors"
    path.write_bytes(_joined(header, b""))
    os.truncate(path, path.stat().st_size + 4 * count)
    for sha256 in (None, "0" * 64):
        with pytest.raises(WeightsError, match="belongs to another model"):
            load_weights(model, path, sha256=sha256)


# --- the record --------------------------------------------------------------------------------

RECORDS = [
    ({"architecture": "resnet1000000"}, "resnet1000000"),
    ({"architecture": ["preact_resnet20"]}, "short string"),
    ({"architecture": "os.system"}, "known names"),
    ({"classes": 10**9}, "3 names of 1000000000 classes"),
    ({"classes": 10**9, "class_names": []}, "classifier/bias of shape"),
    ({"classes": "3"}, "`classes` must be an integer"),
    ({"classes": True}, "`classes` must be an integer"),
    ({"input_shape": [8, 8, 3]}, "stem_conv/kernel of shape"),
    ({"input_shape": [10**9, 8, 1]}, "input_shape"),
    ({"input_shape": [8, 8]}, "input_shape"),
    ({"input_shape": [None, 8, 1]}, "input_shape"),
    ({"mean": [1.0, 2.0]}, "mean .* for 1 channels"),
    ({"mean": ["a"]}, "mean"),
    ({"std": [0.0]}, "std"),
    ({"std": [10**400]}, "`std` must be a finite number"),
    ({"class_names": ["a"]}, "1 names of 3 classes"),
    ({"class_names": ["a", "b", "x" * 1000]}, "short string"),
    ({"options": {"num_blocks": 10**6}}, "more than the file has tensors"),
    ({"options": {"num_blocks": [1, 10**6, 1]}}, "more than the file has tensors"),
    ({"options": {"filters": [10**6] * 3}}, "more than the file has tensors"),
    ({"options": {"step_size": 1e308}}, "more than the file has tensors"),
    ({"options": {"no_such_option": 1}}, "no_such_option"),
    ({"options": [1]}, "not a record of a model"),
    ({"options": {"operator_options": {"kernel_initializer": {"class_name": "Lambda"}}}},
     "short string"),
    ({"options": {"operator_options": {"a": [["Lambda"]]}}}, "short string"),
    ({"no_such_field": 1}, "no_such_field"),
]  # fmt: skip


@once
@pytest.mark.parametrize(("values", "message"), RECORDS, ids=lambda value: str(value)[:40])
def test_records_that_lie(values, message, file, tmp_path):
    def change(header):
        record = json.loads(header["__metadata__"]["keras_pdenets"])
        record = {**record, **values}
        header["__metadata__"]["keras_pdenets"] = json.dumps(record)

    bad = _edited(file, tmp_path, change)
    start = time.monotonic()
    with pytest.raises(WeightsError, match=f"(?s)header that cannot be read: .*{message}"):
        keras_pdenets.PreActResNet20(weights=bad)
    assert time.monotonic() - start < SLOWEST


# --- mutations ---------------------------------------------------------------------------------

WORDS = [b"F32", b"F16", b"I32", b"shape", b"dtype", b"data_offsets", b"null", b"-1", b"1e9", b"{",
         b"}", b"[", b"]", b'"', b",", b":", b"0", b"9" * 30, b"NaN", b"\\ud800", b"true",
         b"classifier/bias", b"stem_conv/kernel", b"__metadata__"]  # fmt: skip


def _flip(rng, data, start, end):
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        data[rng.randrange(start, end)] ^= 1 << rng.randrange(8)
    return bytes(data)


def _mutated(rng, data):
    """One of twelve kinds of damage."""
    header_end = 8 + int.from_bytes(data[:8], "little")
    kind = rng.randrange(12)
    if kind == 0:
        return _flip(rng, data, 0, 8)
    if kind in (1, 2):
        return _flip(rng, data, 8, header_end)
    if kind == 3:
        return _flip(rng, data, header_end, len(data))
    if kind == 4:
        return data[: rng.randrange(len(data))]
    if kind == 5:
        return data + rng.randbytes(rng.choice((1, 4, 100)))
    if kind == 6:
        length = rng.choice((0, 1, rng.randrange(len(data)), rng.randrange(2**64), header_end))
        return length.to_bytes(8, "little") + data[8:]
    if kind == 7:  # a word of the header for another, its length corrected
        text, place = data[8:header_end], rng.randrange(header_end - 8)
        text = text[:place] + rng.choice(WORDS) + text[place + rng.randrange(8) :]
        return _joined(text, data[header_end:])
    return _joined(_mutated_header(rng, *_parts(data), kind), data[header_end:])


def _mutated_header(rng, header, _, kind):
    """A header that is JSON still: a record changed, moved, doubled or taken away."""
    names = [name for name in header if name != "__metadata__"]
    one, two = rng.sample(names, 2)
    if kind == 8:  # offsets and shapes changed
        entry, key = header[one], rng.choice(("data_offsets", "shape"))
        numbers = entry[key]
        place = rng.randrange(len(numbers))
        change = (numbers[place] + rng.choice((-4, -1, 1, 4)), 0, -1, 2**62, 2**70, None, 0.5, "1")
        numbers[place] = rng.choice(change)
    elif kind == 9:  # two entries, or parts of them, exchanged
        key = rng.choice(("data_offsets", "shape", "dtype", None))
        if key is None:
            header[one], header[two] = header[two], header[one]
        else:
            header[one][key], header[two][key] = header[two][key], header[one][key]
    elif kind == 10:  # an entry twice, gone, or under another name
        text = json.dumps(header)[:-1]
        action = rng.randrange(3)
        if action == 0:
            return f"{text}, {json.dumps(one)}: {json.dumps(header[two])}}}".encode()
        entry = header.pop(one)
        if action == 1:
            header[rng.choice((one.upper(), f"{one}/x", "", "../x", two + "\0"))] = entry
    else:  # the record of the model
        record = json.loads(header["__metadata__"]["keras_pdenets"])
        key = rng.choice(list(record))
        values = (None, -1, 0, 1, 5, 10**9, "x", [], {}, [1, 1, 1], 1e400, {"a": {"b": 1}}, True)
        record[key] = rng.choice(values)
        header["__metadata__"]["keras_pdenets"] = json.dumps(record)
    return json.dumps(header).encode()


def test_mutations_never_crash_hang_or_load_wrongly(file, tmp_path):
    data, model, path = file.read_bytes(), _model(), tmp_path / "mutant.safetensors"
    before, shapes = _values(model), {v.path: tuple(v.shape) for v in model.weights}
    pinned, slowest = sha256_of(file), 0.0
    counts = {"loaded": 0, "refused": 0, "records refused": 0, "built": 0, "same": 0}
    # What the first net of the public builder brings is not the file's.
    keras_pdenets.PreActResNet20(weights=file)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in range(COUNT if BACKEND == "torch" else COUNT // 10):
        rng = random.Random(seed)
        mutant = _mutated(rng, data)
        path.write_bytes(mutant)
        start = time.monotonic()
        if mutant == data:
            counts["same"] += 1
            continue
        try:
            read_checkpoint(path)
        except WeightsError:
            counts["records refused"] += 1
        else:
            if rng.random() < 0.02:
                counts["built"] += _builds(path)
        try:
            load_weights(model, path)
        except WeightsError:
            counts["refused"] += 1
        else:
            counts["loaded"] += 1
            for name, value in _values(model).items():
                assert np.isfinite(value).all(), (seed, name)
                assert value.shape == shapes[name], (seed, name)
            for variable in model.weights:
                variable.assign(before[variable.path])
        with pytest.raises(WeightsError):
            load_weights(model, path, sha256=pinned)
        slowest = max(slowest, time.monotonic() - start)
        if seed % 50 == 0:
            for name, value in _values(model).items():
                np.testing.assert_array_equal(value, before[name])
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) / 1024
    assert slowest < SLOWEST
    assert grown < 500
    assert counts["loaded"]
    assert counts["refused"] > counts["loaded"]
    sys.stdout.write(f"{counts}, slowest {slowest:.2f} s, {grown:.0f} MiB more\n")


def _builds(path):
    """Whether the public builder takes the file; if not, it says so in one of two ways."""
    try:
        model = keras_pdenets.PreActResNet20(weights=path)
    except (WeightsError, ValueError):
        return False
    assert all(np.isfinite(value).all() for value in _values(model).values())
    return True

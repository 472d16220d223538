"""Loading from a Hub that misbehaves in every way that we could think of.

KERAS_PDENETS_HUB_TIMES=1 pytest -s tests/test_hub.py shows the seconds that a user would wait; else
the client's waits are shortened.
"""

import logging
import os
import re
import socket
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import build, fill
from huggingface_hub import CommitOperationAdd, HfApi, constants, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError
from loopback_client import TEMPLATE, lead_here
from loopback_hub import LoopbackHub

import keras_pdenets
from keras_pdenets.analysis import record_golden
from keras_pdenets.hub import prefetch as prefetching
from keras_pdenets.hub import source as sources
from keras_pdenets.hub.client_errors import without_secrets
from keras_pdenets.hub.digests import sha256_of
from keras_pdenets.hub.errors import IntegrityError, UnreachableError, WeightsError
from keras_pdenets.hub.files import write_weights
from keras_pdenets.hub.golden import GOLDEN_FILE, write_golden
from keras_pdenets.hub.source import WeightsSource
from keras_pdenets.presets import Checkpoint, Preset

once = pytest.mark.once

CHECKPOINT = Checkpoint("pde_preact_resnet20", (16, 16, 1), 10, {"num_blocks": 1}, (70.0,), (90.0,))
REPO, FILE = "someone/net", "model.safetensors"
ADDRESS = f"hf://{REPO}"
BODY, PROBE = "/_cdn/", "/resolve/"
TIMES = "KERAS_PDENETS_HUB_TIMES" in os.environ
TOKEN = "hf_stalesecret"
SHOWN = 300


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Bytes of a weight file."""
    path = tmp_path_factory.mktemp("weights") / FILE
    model = fill(build("pde_preact_resnet20", channels=1, config={"num_blocks": 1}))
    write_weights(model, path, CHECKPOINT)
    return path.read_bytes()


def _found(preset):
    file = WeightsSource.of(preset).resolve()
    return file.path, file.place


@pytest.fixture
def hub(data, tmp_path, monkeypatch):
    """A Hub with one repository and the client led to it."""
    monkeypatch.setattr(sources, "CHECKOUT_WEIGHTS", tmp_path / "checkout")
    monkeypatch.delenv(sources.MIRROR_VARIABLE, raising=False)
    with LoopbackHub() as hub:
        lead_here(monkeypatch, hub, tmp_path)
        hub.commit_hash = hub.add(REPO, {FILE: data})
        hub.repos[REPO].tags["v1"] = hub.commit_hash
        hub.folder = tmp_path
        if not TIMES:
            wait, sleep = time.sleep, lambda seconds: wait(min(seconds, 0.01))
            monkeypatch.setattr(time, "sleep", sleep)
            monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.5)
            monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.5)
        yield hub


@pytest.fixture
def preset(hub, data, tmp_path):
    (tmp_path / "data").write_bytes(data)
    return Preset(
        name="small", checkpoint=CHECKPOINT, dataset="none", split="test", file=FILE,
        sha256=sha256_of(tmp_path / "data"), size=len(data), repo=REPO, revision=hub.commit_hash,
        metrics={}, training={}, licences={},
    )  # fmt: skip


# --- the table of faults -----------------------------------------------------------------------


@dataclass
class Row:
    """A fault, and what the user sees.

    Args:
        name: Of the row.
        plan: Arguments of `LoopbackHub.fail`, or functions of the Hub.
        error: Class of the error; None: it loads.
        message: Part of the message, or of the log where it loads.
        address: `hf://` address, or None for the pinned preset.
        bodies: Number of times that the bytes were asked for, or None for any.
        cached: Whether bytes are in the cache before: "good", "flipped", "short", "gone".
        offline: Whether the network is off.
        token: Saved token.
    """

    name: str
    plan: tuple = ()
    error: type | None = None
    message: str = ""
    address: str | None = None
    bodies: int | None = None
    cached: str = ""
    offline: bool = False
    token: str = ""


def _fault(kind, match, value=None, **options):
    return lambda hub: hub.fail(kind, match, value, **options)


def _attribute(**values):
    return lambda hub: vars(hub.repos[REPO]).update(values)


def _elsewhere(endpoint):
    def plan(hub):
        constants.ENDPOINT, constants.HUGGINGFACE_CO_URL_TEMPLATE = endpoint, endpoint + TEMPLATE

    return plan


def _dead_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def _xet(hub):
    hub.xet, constants.HF_HUB_DISABLE_XET = True, False


def _new_commit(hub):
    hub.add(REPO, {"README.md": b"new"}, large=False)


def _in_git(hub):
    hub.add(REPO, {FILE: hub.repos[REPO].commits[hub.commit_hash][2][FILE].data}, large=False)


ROWS = [
    Row("nothing", (), bodies=1),
    Row("slow answer", (_fault("delay", PROBE, 0.3),), bodies=1),
    Row("401", (_fault("status", PROBE, 401),), WeightsError, "status 401.; log in"),
    Row("403", (_fault("status", PROBE, 403),), WeightsError, "denies access .*403"),
    Row("404 without a reason", (_fault("status", PROBE, 404),), WeightsError, "status 404"),
    Row("412", (_fault("status", PROBE, 412),), WeightsError, "status 412"),
    Row("429", (_fault("status", PROBE, 429),), UnreachableError, "too many requests"),
    Row("500", (_fault("status", PROBE, 500),), UnreachableError, "is unavailable .status 500"),
    Row("503", (_fault("status", PROBE, 503),), UnreachableError, "is unavailable .status 503"),
    Row("503 for the bytes", (_fault("status", BODY, 503),), UnreachableError, "status 503"),
    Row("429 for the bytes", (_fault("status", BODY, 429),), UnreachableError, "too many"),
    Row("403 for the bytes", (_fault("status", BODY, 403),), WeightsError, "status 403"),
    Row("silent Hub", (_fault("silent", PROBE),), UnreachableError, "not respond"),
    Row("nobody listens", (_elsewhere(_dead_port()),), UnreachableError, "no connection"),
    Row("no such host", (_elsewhere("http://hub.invalid"),), UnreachableError, "no connection"),
    Row("login page", (_fault("page", PROBE),), WeightsError, "not from a Hub"),
    Row("bytes cut once", (_fault("cut", BODY, 1000, times=1),)),
    Row("bytes always cut", (_fault("cut", BODY, 1000),), UnreachableError, "was lost; try again"),
    Row("short bytes once", (_fault("truncate", BODY, 1000, times=1),), bodies=2),
    Row("always short", (_fault("truncate", BODY, 1000),), UnreachableError, "fewer bytes",
        bodies=2),
    Row("silent bytes", (_fault("silent", BODY),), UnreachableError, "not respond"),
    Row("bytes that stop", (_fault("stall", BODY, 1000),), UnreachableError, "not respond"),
    Row("a byte flipped once", (_fault("flip", BODY, 5000, times=1),), bodies=2),
    Row("always flipped", (_fault("flip", BODY, 5000),),
        IntegrityError, "twice sent other", bodies=2),
    Row("other hash", (_fault("etag", PROBE, "b" * 64),),
        IntegrityError, "not downloaded", bodies=0),
    Row("other size", (_fault("size", PROBE, 5),),
        IntegrityError, "not downloaded", bodies=0),
    Row("hash that is a path", (_fault("etag", PROBE, "../../a"),),
        WeightsError, "not from a Hub", bodies=0),
    Row("commit that is a path", (_fault("commit", PROBE, "../a"),),
        WeightsError, "not from a Hub", bodies=0),
    Row("Xet storage", (_xet,), bodies=1),
    Row("gated", (_attribute(gated=True),), WeightsError, "gated: accept its terms at .*; log in"),
    Row("private", (_attribute(private=True),), WeightsError, "if private, log in"),
    Row("private, other's token", (_attribute(private=True), lambda h: h.tokens.update(hf_b="b")),
        WeightsError, "the token in use has no access", token="hf_b"),
    Row("private, own token", (_attribute(private=True),), token="hf_writer", bodies=1),
    Row("gone", (lambda hub: hub.repos.clear(),), WeightsError, "is gone, misspelt or private"),
    Row("renamed", (lambda hub: hub.rename(REPO, "someone/new"),), bodies=1),
    Row("no such revision", (), WeightsError, "has no revision v9", f"{ADDRESS}@v9"),
    Row("no weights in it", (lambda hub: hub.add("someone/text", {"README.md": b"."}),),
        WeightsError, "has no model.safetensors at main", "hf://someone/text"),
    Row("stale token", (), None, "rejected the saved token", token=TOKEN, bodies=1),
    Row("stale token, private", (_attribute(private=True),),
        WeightsError, "gone, mis", token=TOKEN),
    Row("cached", (), cached="good", bodies=0),
    Row("cached, Hub is silent", (_fault("silent", ""),), cached="good", bodies=0),
    Row("cached byte flipped", (), cached="flipped", bodies=1),
    Row("cached copy cut", (), cached="short", bodies=1),
    Row("cached link to nothing", (), cached="gone", bodies=1),
    Row("flipped, Hub is down", (_fault("status", PROBE, 503),), UnreachableError, "503", None, 0,
        "flipped"),
    Row("offline, cached", (), None, "", None, 0, "good", offline=True),
    Row("offline, not cached", (), WeightsError, "no copy on this.*HF_HUB_OFFLINE", offline=True),
    Row("offline, byte flipped", (),
        IntegrityError, "never used", bodies=0, cached="flipped", offline=True),
    Row("branch", (), None, "", ADDRESS, 1),
    Row("tag", (), None, "", f"{ADDRESS}@v1", 1),
    Row("branch moved", (_new_commit,), None, "", ADDRESS, 0, "good"),
    Row("branch, cached, Hub down", (_fault("status", PROBE, 503),), None, "cached copy of",
        ADDRESS, 0, "good"),
    Row("branch, flipped", (), None, "", ADDRESS, 1, "flipped"),
    Row("branch, offline", (), None, "", ADDRESS, 0, "good", offline=True),
    Row("branch, offline, flipped", (), WeightsError, "cannot be verified", ADDRESS, 0, "flipped",
        offline=True),
    Row("anybody's, flipped", (_fault("flip", BODY, 5000),), IntegrityError, "twice sent other",
        ADDRESS, 2),
    Row("anybody's, in git", (_in_git,), None, "", ADDRESS),
    Row("anybody's, in git, flipped", (_in_git, _fault("flip", PROBE, 5000)), IntegrityError,
        "twice sent other bytes", ADDRESS),
    Row("anybody's, no hash", (_fault("etag", PROBE, "weak-1"),), IntegrityError,
        "announces no hash", ADDRESS),
    Row("anybody's, 5 TB", (_fault("size", PROBE, 5 * 10**12),), WeightsError, "4294967296 allowed",
        ADDRESS, 0),
]  # fmt: skip


def _load(row, preset):
    address = row.address
    if address is None:
        return WeightsSource.of(preset).resolve().path
    return WeightsSource.parse(address).resolve().path


def _spoil(hub, data, how):
    """Have the file in the cache, then change it there."""
    path = WeightsSource.parse(ADDRESS).resolve().path
    blob = path.resolve()
    if how == "flipped":
        blob.write_bytes(data[:-5] + bytes([data[-5] ^ 1]) + data[-4:])
    elif how == "short":
        blob.write_bytes(data[:1000])
    elif how == "gone":
        blob.unlink()
    hub.log.clear()


@once
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name.replace(" ", "_"))
def test_faults(row, hub, preset, data, monkeypatch, caplog):
    caplog.set_level(logging.WARNING, "keras_pdenets")
    if row.cached:
        _spoil(hub, data, row.cached)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", row.offline)
    if row.token:
        Path(constants.HF_TOKEN_PATH).write_text(row.token)
    for plan in row.plan:
        plan(hub)
    start, seen = time.monotonic(), ""
    if row.error is None:
        assert _load(row, preset).read_bytes() == data
        seen = " ".join(record.getMessage() for record in caplog.records)
    else:
        with pytest.raises(row.error) as caught:
            _load(row, preset)
        assert type(caught.value) is row.error
        seen = str(caught.value)
        assert caught.value.__cause__ is None
    seconds = time.monotonic() - start
    outcome = "loads" if row.error is None else row.error.__name__
    sys.stdout.write(f"| {row.name} | {outcome} | {seconds:.1f} | {seen[:SHOWN]} |\n")
    assert re.search(row.message, seen)
    assert seconds < 30
    assert not row.token or row.token not in seen + caplog.text
    if row.bodies is not None:
        assert hub.count("GET", BODY) == row.bodies
    _check_what_is_left(row, hub, preset, data, monkeypatch)


def _check_what_is_left(row, hub, preset, data, monkeypatch):
    """Nothing half-written; and as soon as the Hub is well, the same call gives the right bytes."""
    lead_here(monkeypatch, hub, hub.folder)
    assert not list(hub.folder.glob("cache/**/blobs/.*"))
    hub.faults.clear()
    Path(constants.HF_TOKEN_PATH).unlink(missing_ok=True)
    if REPO not in hub.repos:
        hub.renamed.clear()
        hub.add(REPO, {FILE: data})
    _attribute(private=False, gated=False)(hub)
    preset = replace(preset, revision=hub.repos[REPO].branches["main"])
    assert WeightsSource.of(preset).resolve().path.read_bytes() == data
    hub.log.clear()
    assert WeightsSource.of(preset).resolve().place == "cache"
    assert hub.log == []


# --- other caches ------------------------------------------------------------------------------


@once
def test_verify_looks_into_the_cache_of_the_weights(hub, data, tmp_path):
    build = keras_pdenets.PDEPreActResNet20
    (tmp_path / FILE).write_bytes(data)
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 1))
    write_golden(record_golden(build(weights=tmp_path / FILE), images), tmp_path / GOLDEN_FILE)
    hub.add(REPO, {GOLDEN_FILE: (tmp_path / GOLDEN_FILE).read_bytes()})
    for folder, ask in (
        ("one", lambda cache: build(weights=ADDRESS, cache_dir=cache)),
        ("two", lambda cache: ADDRESS),
    ):
        cache = str(tmp_path / folder)
        given = None if folder == "one" else cache
        assert keras_pdenets.verify(ask(cache), cache_dir=given).agrees
        found = (tmp_path / folder).glob("*/snapshots/*/*")
        assert sorted(path.name for path in found) == [GOLDEN_FILE, FILE]
    # The client's own, which is not the one of the weights.
    assert not (tmp_path / "cache").exists()


# --- names, secrets ----------------------------------------------------------------------------

BAD_ADDRESSES = [
    "hf://", "hf://net", "hf://someone/net/more", "hf://../net", "hf://someone/..", "hf:///net",
    "hf://someone/net@", "hf://someone/net@../../v1", "hf://someone/net@/etc", "hf://some one/net",
    "hf://someone/net@v1@v2", "hf://someone/.net", "hf://someone/net\n", "hf://someone\\\\x/net",
    "hf://someone/net@a\0b", "hf://someone/net?x=1", "hf://user:password@host/net",
]  # fmt: skip


@once
@pytest.mark.parametrize("address", BAD_ADDRESSES)
def test_addresses_that_lead_elsewhere_are_refused(address, hub):
    with pytest.raises(ValueError, match="`weights` must be 'hf://organisation/repo'"):
        WeightsSource.parse(address).resolve()
    with pytest.raises(ValueError, match="no other path"):
        WeightsSource.parse(ADDRESS, "../v1").resolve()
    assert hub.log == []


@once
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "../small"), ("name", "/etc"), ("name", ""), ("file", "../model.safetensors"),
        ("file", "a/b"), ("file", ".."), ("repo", "../.."), ("repo", "net"),
        ("revision", "main"), ("revision", "../" * 13 + "a"), ("sha256", "abc"), ("size", 0),
    ],
)  # fmt: skip
def test_rows_that_lead_out_of_their_folder_are_refused(field, value, hub, preset):
    with pytest.raises(ValueError, match=f"`{field}` of a preset must be"):
        WeightsSource.of(replace(preset, **{field: value})).resolve()
    assert hub.log == []


@once
def test_secrets_stay_secret(hub, preset, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG, "keras_pdenets")
    # A token with a control character: the client's own message quotes it whole.
    Path(constants.HF_TOKEN_PATH).write_text(f"{TOKEN}\0")
    seen = []
    with pytest.raises(WeightsError) as caught:
        WeightsSource.of(preset).resolve()
    seen.append(str(caught.value))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    for status in (401, 403, 404, 500):
        hub.faults.clear()
        hub.fail("status", PROBE, status)
        with pytest.raises(WeightsError) as caught:
            WeightsSource.of(preset).resolve()
        seen.append(str(caught.value))
        assert caught.value.__suppress_context__
    _elsewhere(hub.endpoint.replace("//", "//user:password@"))(hub)
    with pytest.raises(WeightsError) as caught:
        WeightsSource.of(preset).resolve()
    seen.append(str(caught.value))
    for text in (*seen, caplog.text):
        assert TOKEN not in text
        assert "password" not in text
    assert any(TOKEN in token for *_, token in hub.log), "it was never sent: nothing was tested"


def test_texts_of_the_client_lose_their_secrets():
    text = "Bearer abc.def for https://me:pass@cdn.org/x?Signature=secret and hf_abc123\nmore"
    assert without_secrets(text) == "*** for https://cdn.org/x and ***"


# --- the whole way -----------------------------------------------------------------------------


@pytest.mark.slow
def test_anybodys_net_is_built_and_loaded(hub, data):
    keras.utils.set_random_seed(0)
    model = keras_pdenets.PDEPreActResNet20(weights=f"{ADDRESS}@{hub.commit_hash}")
    images = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 1)).astype("float32")
    local = hub.folder / "local.safetensors"
    local.write_bytes(data)
    again = keras_pdenets.PDEPreActResNet20(weights=local)
    found, wanted = (keras.ops.convert_to_numpy(m(images)) for m in (model, again))
    np.testing.assert_array_equal(found, wanted)
    assert hub.count("GET", BODY) == 1
    hub.log.clear()
    keras_pdenets.PDEPreActResNet20(weights=f"{ADDRESS}@{hub.commit_hash}")
    assert hub.log == [], "cached and pinned: the network is not asked"
    # The header decides what it is, not who asks.
    with pytest.raises(WeightsError, match="holds weights of PDEPreActResNet20"):
        keras_pdenets.PreActResNet20(weights=f"{ADDRESS}@{hub.commit_hash}")


@once
def test_prefetch_for_a_machine_without_network(hub, preset, data, monkeypatch):
    other = replace(preset, name="other", repo="someone/other")
    rows = {row.name: row for row in (preset, other)}
    monkeypatch.setattr(prefetching, "list_presets", lambda: sorted(rows))
    monkeypatch.setattr(sources, "get_preset", rows.__getitem__)
    monkeypatch.setattr(sources, "list_presets", lambda: sorted(rows))
    # One that cannot be had does not keep the others away.
    with pytest.raises(WeightsError, match=r"^1 of 2: .*someone/other is gone"):
        prefetching.prefetch("all")
    rows["other"] = replace(other, revision=hub.add("someone/other", {FILE: data}))
    files = prefetching.prefetch("all")
    assert sorted(files) == ["other", "small"]
    monkeypatch.setenv("HOME", str(hub.folder))
    own = "~/own"
    assert str(hub.folder / "own") in str(prefetching.prefetch("small", cache_dir=own)["small"])
    assert prefetching.prefetch(ADDRESS, cache_dir=own)[ADDRESS].read_bytes() == data
    hub.log.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for row in rows.values():
        assert _found(row) == (files[row.name], "cache")
    assert WeightsSource.parse(ADDRESS, cache_dir=own).resolve().path.read_bytes() == data
    assert hub.log == []


@once
def test_the_client_can_publish_here(hub, data):
    """What the publisher needs of the loopback Hub, with the real client."""
    api = HfApi(token="hf_writer")
    assert api.whoami()["name"] == "someone"
    for _ in range(2):
        api.create_repo("someone/mine", exist_ok=True)
    head = api.model_info("someone/mine").sha

    def operations():
        return [CommitOperationAdd(FILE, data), CommitOperationAdd("README.md", b"a card")]

    made = api.create_commit(
        "someone/mine", operations(), commit_message="weights", parent_commit=head
    )
    tree = {entry.path: entry for entry in api.list_repo_tree("someone/mine", revision=made.oid)}
    assert sorted(tree) == [".gitattributes", "README.md", FILE]
    assert (tree[FILE].size, len(tree[FILE].lfs.sha256)) == (len(data), 64)
    assert tree["README.md"].lfs is None
    info = api.get_paths_info("someone/mine", [FILE], revision=made.oid)
    assert info[0].lfs.sha256 == tree[FILE].lfs.sha256
    late = [CommitOperationAdd("README.md", b"another card")]
    with pytest.raises(HfHubHTTPError, match="412"):
        api.create_commit("someone/mine", late, commit_message="late", parent_commit=head)
    api.create_tag("someone/mine", tag="v1", revision=made.oid)
    assert [t.target_commit for t in api.list_repo_refs("someone/mine").tags] == [made.oid]
    assert [c.title for c in api.list_repo_commits("someone/mine")] == ["weights", "add"]
    read = hf_hub_download("someone/mine", FILE, revision="v1", token=False)
    assert Path(read).read_bytes() == data
    with pytest.raises(HfHubHTTPError, match=r"401|403"):
        HfApi(token=False).create_commit("someone/mine", late, commit_message="no")
    with pytest.raises(HfHubHTTPError, match="403"):
        api.create_repo("other/theirs")
    api.delete_repo("someone/mine")
    assert "someone/mine" not in hub.repos

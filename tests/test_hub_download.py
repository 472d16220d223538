"""A download from the Hub: the client's cache, tokens, other processes, and arguments."""

import asyncio
import tracemalloc
from pathlib import Path

import pytest
from huggingface_hub import constants, file_download, hf_hub_download, try_to_load_from_cache
from huggingface_hub.utils import WeakFileLock
from loopback_client import lead_here
from loopback_hub import LoopbackHub

import keras_pdenets
from keras_pdenets.hub.cache import Slot
from keras_pdenets.hub.digests import matches
from keras_pdenets.hub.download import fetch
from keras_pdenets.hub.errors import UnreachableError, WeightsError
from keras_pdenets.hub.patience import SECONDS_VARIABLE, Patience
from keras_pdenets.hub.source import MIRROR_VARIABLE, WeightsSource
from keras_pdenets.publishing import upload

pytestmark = pytest.mark.once

REPO, FILE, DATA = "someone/net", "model.safetensors", bytes(range(256)) * 100
ADDRESS = f"hf://{REPO}"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with LoopbackHub() as hub:
        lead_here(monkeypatch, hub, tmp_path)
        hub.commit_hash = hub.add(REPO, {FILE: DATA})
        hub.cache = tmp_path / "cache"
        yield hub


# --- the cache that the client knows -------------------------------------------------------------


@pytest.mark.parametrize("large", [True, False])
def test_the_client_finds_what_we_fetch(hub, large, monkeypatch):
    hub.add(REPO, {FILE: DATA}, large=large)
    path = fetch(REPO, FILE)
    assert path.read_bytes() == DATA
    assert path.parts[-4:-1] == (
        "models--someone--net",
        "snapshots",
        hub.repos[REPO].branches["main"],
    )
    assert path.is_symlink()
    hub.log.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert Path(try_to_load_from_cache(REPO, FILE)) == path
    assert Path(hf_hub_download(REPO, FILE, local_files_only=True)) == path
    assert hub.log == []


def test_we_use_what_the_client_has_fetched(hub):
    path = Path(hf_hub_download(REPO, FILE))
    bodies = hub.count("GET", "/_cdn/")
    assert fetch(REPO, FILE) == path
    assert hub.count("GET", "/_cdn/") == bodies


@pytest.mark.parametrize("tag", ["v1", "refs/pr/1"])
def test_tags_and_requests_are_remembered(hub, tag):
    hub.repos[REPO].tags[tag] = hub.commit_hash
    found = fetch(REPO, FILE, hub.commit_hash)
    slot = Slot(hub.cache, REPO, FILE, hub.commit_hash, "a" * 64)
    slot.remember(tag)
    assert Path(try_to_load_from_cache(REPO, FILE, revision=tag)) == found


def test_where_there_are_no_links(hub, monkeypatch):
    """By the client's private `_create_symlink`: Windows without the right to make them."""
    monkeypatch.setattr(file_download, "are_symlinks_supported", lambda *_: False)
    path = fetch(REPO, FILE)
    assert not path.is_symlink()
    assert path.read_bytes() == DATA
    hub.log.clear()
    assert fetch(REPO, FILE) == path
    assert hub.count("GET") == 0
    path.write_bytes(DATA[:-1])
    assert fetch(REPO, FILE).read_bytes() == DATA


@pytest.mark.parametrize(
    ("field", "value"),
    [("repo", "../net"), ("file", "../x"), ("commit", "../x"), ("digest", "../x"), ("digest", "")],
)
def test_no_other_name_becomes_a_path(tmp_path, field, value):
    names = {"repo": REPO, "file": FILE, "commit": "a" * 40, "digest": "b" * 64, field: value}
    with pytest.raises(ValueError, match="needs plain names and full hashes"):
        Slot(tmp_path, **names)
    with pytest.raises(ValueError, match="`revision` must consist of plain names"):
        Slot(tmp_path, REPO, FILE, "a" * 40, "b" * 64).remember("../x")


def test_a_commit_that_is_a_path_is_not_read_back(hub, monkeypatch, tmp_path):
    (tmp_path / "text").write_text("text")
    hub.add(REPO, {FILE: DATA})
    hub.repos[REPO].tags["v1"] = "../../x"
    monkeypatch.setenv("HF_TOKEN", "hf_writer")
    monkeypatch.setattr(upload, "_differing", lambda *_: [])
    with pytest.raises(WeightsError, match="has an invalid commit"):
        upload.commit_files(REPO, {"text": tmp_path / "text"}, "v1", "title")


# --- the network ---------------------------------------------------------------------------------


def test_the_token_goes_to_the_hub_alone(hub, monkeypatch):
    hub.repos[REPO].private = True
    monkeypatch.setenv("HF_TOKEN", "hf_writer")
    fetch(REPO, FILE)
    tokens = {path.split("/")[1]: token for _, path, token in hub.log}
    assert tokens == {"someone": "Bearer hf_writer", "_cdn": ""}
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    with pytest.raises(WeightsError, match=r"if private, log in|no access"):
        fetch(REPO, FILE, cache_dir=hub.cache / "other")


def test_within_a_running_event_loop(hub):
    async def in_a_notebook():
        return fetch(REPO, FILE)

    assert asyncio.run(in_a_notebook()).read_bytes() == DATA


def test_another_process_that_never_ends(hub, monkeypatch):
    sha256 = hub.repos[REPO].commits[hub.commit_hash][2][FILE].sha256
    lock = hub.cache / ".locks" / "models--someone--net" / f"{sha256}.lock"
    lock.parent.mkdir(parents=True)
    monkeypatch.setenv(SECONDS_VARIABLE, "0.5")
    with WeakFileLock(lock), pytest.raises(UnreachableError, match=SECONDS_VARIABLE):
        fetch(REPO, FILE)
    monkeypatch.delenv(SECONDS_VARIABLE)
    assert fetch(REPO, FILE).read_bytes() == DATA


@pytest.mark.parametrize("text", ["", "no", "0", "-1", "nan", "inf"])
def test_seconds_that_are_none(text, monkeypatch):
    monkeypatch.setenv(SECONDS_VARIABLE, text)
    with pytest.raises(ValueError, match=f"`{SECONDS_VARIABLE}` must be a positive number. Rec"):
        Patience()


def test_large_files_are_hashed_in_pieces(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(2**24))
    tracemalloc.start()
    assert not matches(path, "a" * 40)
    assert not matches(path, "a" * 64)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


# --- arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [5, None, b"all", Path("all"), ["all"]])
def test_what_cannot_be_prefetched(weights):
    with pytest.raises(ValueError, match=r"`weights` must be the name of a preset.* Received: w"):
        keras_pdenets.prefetch(weights)


@pytest.mark.parametrize("cache_dir", [5, "", b"cache", "a\0b", ["cache"], "~nobody-here/cache"])
def test_what_is_no_cache(hub, cache_dir):
    name = "decomposed_resnet20_fashion_mnist"
    for call in (
        lambda: keras_pdenets.prefetch(ADDRESS, cache_dir=cache_dir),
        lambda: keras_pdenets.prefetch(name, cache_dir=cache_dir),
        lambda: keras_pdenets.PDEPreActResNet20(weights=ADDRESS, cache_dir=cache_dir),
    ):
        with pytest.raises(ValueError, match=r"`cache_dir` must be a path.* Received: cache_dir="):
            call()
    assert hub.log == []


def test_a_cache_by_path(hub, tmp_path):
    found = keras_pdenets.prefetch(ADDRESS, cache_dir=tmp_path / "own")[ADDRESS]
    assert found.is_relative_to(tmp_path / "own")


@pytest.mark.parametrize("name", ["a" * 300, "/".join(["a" * 90] * 60), "file/cache"])
def test_a_cache_that_cannot_be(hub, tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match=r"could not be fetched: (OSError|NotADirectoryError): "):
        keras_pdenets.prefetch(ADDRESS, cache_dir=tmp_path / name)


@pytest.mark.parametrize(
    "address",
    [
        f"hf://{'a' * 97}/b",
        f"{ADDRESS}@{'/'.join('a' * 150)}",
        "hf://a--b/c",
        "hf://a/c.git",
    ],
)
def test_names_that_the_hub_does_not_have(hub, address):
    with pytest.raises(ValueError, match="`weights` must be 'hf://organisation/repo'"):
        keras_pdenets.prefetch(address)
    assert hub.log == []


def test_a_mirror_that_cannot_be_read(tmp_path, monkeypatch):
    monkeypatch.setenv(MIRROR_VARIABLE, str(tmp_path / ("a" * 300)))
    with pytest.raises(WeightsError, match=r"cannot be read \(File name too long\)"):
        WeightsSource.parse("decomposed_resnet20_fashion_mnist").resolve()


def test_a_full_disk_says_so(hub, monkeypatch):
    """The small notes beside the bytes too; a real disk of a small size is in other tests."""

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(
        WeightsError, match=r"the disk of the cache is full .*use another cache_dir"
    ):
        WeightsSource.parse(ADDRESS).resolve()

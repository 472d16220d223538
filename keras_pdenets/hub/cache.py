"""The Hub's cache, laid out as its client does, so that both find what the other has fetched."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants

# Private, both: how the client names a folder, and what it does where no symbolic link can be made.
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import WeakFileLock

from keras_pdenets.compat.huggingface_hub import link
from keras_pdenets.hub.client_errors import TooSlowError
from keras_pdenets.hub.digests import is_commit, is_sha256, matches
from keras_pdenets.hub.names import is_repo, is_revision
from keras_pdenets.utils.atomic import replace_file, write_file
from keras_pdenets.utils.checks import check_path
from keras_pdenets.utils.names import is_name

_MAIN = "main"


def cache_folder(cache_dir: object) -> Path:
    """Folder of the Hub's cache.

    Args:
        cache_dir: Path of a folder, "~" allowed; None: the client's own (`HF_HUB_CACHE`).

    Raises:
        ValueError: If it is no path.

    Example:
    >>> cache_folder("weights").name
    'weights'
    """
    if cache_dir is None:
        return Path(constants.HF_HUB_CACHE)
    return check_path("cache_dir", cache_dir)


def cached_file(repo: str, file: str, revision: str | None, cache_dir: object) -> Path | None:
    """The file in the Hub's cache, unchecked, or None; the network is not asked."""
    folder = cache_folder(cache_dir)
    try:
        found = huggingface_hub.try_to_load_from_cache(
            repo, file, cache_dir=folder, revision=revision
        )
    except OSError:  # a closed folder: nothing is there for us
        return None
    return Path(found) if isinstance(found, str) else None


@dataclass(frozen=True)
class Slot:
    """Where one file of one commit belongs.

    Args:
        cache: Folder of the cache.
        repo: Hub repository.
        file: File in it.
        commit: 40 hex digits.
        digest: Hash of the file, which names its bytes.

    Raises:
        ValueError: If one of them could lead elsewhere.
    """

    cache: Path
    repo: str
    file: str
    commit: str
    digest: str

    def __post_init__(self) -> None:
        """Look at every name, here and nowhere else, before it becomes a path."""
        whole = is_sha256(self.digest) or is_commit(self.digest)
        if not (is_repo(self.repo) and is_name(self.file) and is_commit(self.commit) and whole):
            raise ValueError(f"Plain names and whole hashes only. Received: {self}")

    @property
    def path(self) -> Path:
        """What a reader opens: a link to the bytes, or a file where there are no links."""
        return self._folder / "snapshots" / self.commit / self.file

    @property
    def _folder(self) -> Path:
        return self.cache / repo_folder_name(repo_id=self.repo, repo_type="model")

    @property
    def _blob(self) -> Path:
        return self._folder / "blobs" / self.digest

    def fill(self, write: Callable[[Path], None], seconds: float) -> None:
        """Have the right bytes there; they are written only if they are not, and by one process.

        Args:
            write: Writes them into a file that it is given, or raises.
            seconds: How long to wait for another process that writes them.

        Raises:
            TooSlowError: If the other one is not done by then.
            OSError: If there is no room or no right to write.
        """
        if self._is_in(self.path):
            return
        lock = self.cache / ".locks" / self._folder.name / f"{self.digest}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with _locked(lock, seconds):
            if self._is_in(self.path):
                return
            is_new = not self._is_in(self._blob)
            if is_new:
                try:
                    replace_file(self._blob, write)
                except OSError as error:  # what `write` raised: the client's errors are OSErrors
                    raise error.__cause__ or error from None
            if not (self.path.exists() and self.path.samefile(self._blob)):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                link(self._blob, self.path, is_new)

    def remember(self, revision: str | None) -> None:
        """Note where a branch or tag is, for days without a network."""
        if revision == self.commit:
            return
        if not is_revision(revision or _MAIN):
            raise ValueError(f"A revision must be of plain names. Received: {revision!r}")
        note = self._folder / "refs" / (revision or _MAIN)
        if not note.is_file() or note.read_text(encoding="utf-8") != self.commit:
            with contextlib.suppress(OSError):  # a cache that may only be read
                write_file(note, self.commit)

    def _is_in(self, path: Path) -> bool:
        try:
            return path.is_file() and matches(path, self.digest)
        except OSError:  # it has just gone, or is closed to us
            return False


@contextlib.contextmanager
def _locked(path: Path, seconds: float) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(WeakFileLock(path, timeout=max(seconds, 0)))
        except TimeoutError:
            raise TooSlowError from None
        yield

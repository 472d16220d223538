"""The Hub's cache, in the layout of its client, so that both share their files."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants

# Both undocumented: the client's names of folders, and its lock.
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
        cache_dir: Path of a folder, may start with "~"; None: the client's default
            (`HF_HUB_CACHE`).

    Raises:
        ValueError: If it is not a path.

    Example:
    >>> cache_folder("weights").name
    'weights'
    """
    if cache_dir is None:
        return Path(constants.HF_HUB_CACHE)
    return check_path("cache_dir", cache_dir)


def cached_file(repo: str, file: str, revision: str | None, cache_dir: object) -> Path | None:
    """The file in the Hub's cache, not verified, or None; without network access."""
    folder = cache_folder(cache_dir)
    try:
        found = huggingface_hub.try_to_load_from_cache(
            repo, file, cache_dir=folder, revision=revision
        )
    except OSError:  # an unreadable folder
        return None
    return Path(found) if isinstance(found, str) else None


@dataclass(frozen=True)
class Slot:
    """The place of one file of one commit in the cache.

    Args:
        cache: Folder of the cache.
        repo: Hub repository.
        file: File in it.
        commit: 40 hex digits.
        digest: Hash of the file, the name of its blob.

    Raises:
        ValueError: If one of them could escape its folder.
    """

    cache: Path
    repo: str
    file: str
    commit: str
    digest: str

    def __post_init__(self) -> None:
        """Check every name, here and nowhere else, before it becomes a path."""
        whole = is_sha256(self.digest) or is_commit(self.digest)
        if not (is_repo(self.repo) and is_name(self.file) and is_commit(self.commit) and whole):
            raise ValueError(
                f"A file in the cache needs plain names and full hashes. Received: {self}"
            )

    @property
    def path(self) -> Path:
        """Path to open: a link to the blob, or a file if the system has no links."""
        return self._folder / "snapshots" / self.commit / self.file

    @property
    def _folder(self) -> Path:
        return self.cache / repo_folder_name(repo_id=self.repo, repo_type="model")

    @property
    def _blob(self) -> Path:
        return self._folder / "blobs" / self.digest

    def fill(self, write: Callable[[Path], None], seconds: float) -> None:
        """Write the bytes unless they are there already; only one process writes at a time.

        Args:
            write: Function that writes them to the given path, or raises.
            seconds: How long to wait for another process that writes them.

        Raises:
            TooSlowError: If the other process takes longer.
            OSError: If the disk is full or not writable.
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
                except OSError as error:  # the error of `write`: the client's errors are OSErrors
                    raise error.__cause__ or error from None
            if not (self.path.exists() and self.path.samefile(self._blob)):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                link(self._blob, self.path, is_new)

    def remember(self, revision: str | None) -> None:
        """Store the commit of a branch or tag, for use without a network."""
        if revision == self.commit:
            return
        if not is_revision(revision or _MAIN):
            raise ValueError(
                f"`revision` must consist of plain names. Received: revision={revision!r}"
            )
        note = self._folder / "refs" / (revision or _MAIN)
        if not note.is_file() or note.read_text(encoding="utf-8") != self.commit:
            with contextlib.suppress(OSError):  # a read-only cache
                write_file(note, self.commit)

    def _is_in(self, path: Path) -> bool:
        try:
            return path.is_file() and matches(path, self.digest)
        except OSError:  # just removed, or not readable
            return False


@contextlib.contextmanager
def _locked(path: Path, seconds: float) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(WeakFileLock(path, timeout=max(seconds, 0)))
        except TimeoutError:
            raise TooSlowError from None
        yield

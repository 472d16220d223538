"""Sources of weights: the parser of `weights=`, and how each source is resolved."""

import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path

from keras_pdenets.hub.cache import cache_folder, cached_file
from keras_pdenets.hub.digests import describe, is_commit, matches
from keras_pdenets.hub.download import fetch, is_offline, url_of
from keras_pdenets.hub.errors import IntegrityError, UnreachableError, WeightsError
from keras_pdenets.hub.golden import GOLDEN_FILE, is_golden
from keras_pdenets.hub.names import check_preset, parse_address
from keras_pdenets.hub.weight_file import WeightFile
from keras_pdenets.presets import Preset, get_preset, list_presets
from keras_pdenets.utils.checks import check_flag, check_path
from keras_pdenets.utils.text import printable

_LOG = logging.getLogger("keras_pdenets")
MIRROR_VARIABLE = "KERAS_PDENETS_WEIGHTS_DIR"
CHECKOUT_WEIGHTS = Path(__file__).parents[2] / "weights"
PACKAGE_WEIGHTS = Path(__file__).parents[1] / "weights"  # of an installed wheel
WEIGHTS_FILE = "model.safetensors"


@dataclass(frozen=True)
class WeightsSource:
    """A preset, a file, or a repository on the Hub.

    Args:
        name: Its name in reports and messages.
        preset: The row of a preset, or None.
        path: A file, or None.
        repo: Repository on the Hub, if it is neither.
        revision: Its revision; None: the main branch.
        file: File in the repository.
        cache_dir: Folder of the Hub's cache, or None for its default.
        local_files_only: Do not access the network.
        weights_folder: Folder used instead of `weights/` of this checkout, for a preset.

    Example:
    >>> WeightsSource.parse("hf://someone/net@v1").revision
    'v1'
    """

    name: str
    preset: Preset | None = None
    path: Path | None = None
    repo: str = ""
    revision: str | None = None
    file: str = WEIGHTS_FILE
    cache_dir: str | Path | None = None
    local_files_only: bool = False
    weights_folder: str | Path | None = None

    @classmethod
    def parse(
        cls,
        weights: object,
        revision: str | None = None,
        cache_dir: object = None,
        local_files_only: bool = False,
    ) -> "WeightsSource":
        """The source that an argument `weights` names.

        Args:
            weights: Name of a preset, `"hf://organisation/repo[@revision]"`, a safetensors file or
                a folder with `model.safetensors`.
            revision: Revision of a `hf://` repository, if given separately.
            cache_dir: Folder of the Hub's cache, or None for its default.
            local_files_only: Do not access the network.

        Raises:
            ValueError: If it is none of these, or another argument has the wrong type.
            WeightsError: If a path cannot be accessed.
        """
        cache, offline = check_access(revision, cache_dir, local_files_only)
        if isinstance(weights, os.PathLike):
            weights = check_path("weights", weights)
        if not isinstance(weights, str | Path) or not str(weights):
            raise ValueError(
                "`weights` must be None, 'hub', the name of a preset, 'hf://organisation/repo', a "
                f"file or a folder. Received: weights={weights!r}"
            )
        name = str(weights)
        if name.startswith("hf://"):
            repo, at = parse_address(name, revision)
            name = f"{name}@{revision}" if revision else name
            return cls(name, None, None, repo, at, cache_dir=cache, local_files_only=offline)
        if revision is not None:
            raise ValueError(
                "`revision` must be None except for weights='hf://...'. "
                f"Received: weights={weights!r}, revision={revision!r}"
            )
        # Presets first: a folder of the same name must not replace one.
        path = None if name in list_presets() else _path_of(weights)
        preset = get_preset(name) if path is None else None
        return cls(name, preset, path, cache_dir=cache, local_files_only=offline)

    @classmethod
    def of(cls, preset: Preset, weights_folder: str | Path | None = None) -> "WeightsSource":
        """The source of a row, whether or not it is in the table."""
        return cls(preset.name, preset, weights_folder=weights_folder)

    def golden(self) -> "WeightsSource":
        """The golden file of the weights.

        That of a preset has a pinned hash, too. For a file it is `golden.safetensors` in the same
        folder; if the file itself is a golden file, it is that one.

        Raises:
            WeightsError: If the preset has none.
        """
        if self.preset is not None:
            if self.preset.golden is None:
                raise WeightsError(f"Preset {self.preset.name!r} has no golden file yet.")
            return replace(self, preset=replace(self.preset, **self.preset.golden))
        if self.path is None:
            return replace(self, file=GOLDEN_FILE)
        if self.path.is_file() and is_golden(self.path):
            return self
        return replace(self, path=self.path.parent / GOLDEN_FILE)

    def resolve(self) -> WeightFile:
        """The file: not yet opened, or for a preset possibly read and hashed.

        The sources of a preset are tried in this order, each verified by SHA-256: the folder in
        `KERAS_PDENETS_WEIGHTS_DIR` (other bytes there are an error); `weights/` of a checkout; the
        installed package, whose wheel contains the small checkpoints; the Hub's cache; the Hub.
        The network is not accessed if a local source has the bytes.

        A repository has no pinned hash: the bytes must be those that the Hub announces. A cached
        full commit needs no network; a branch or tag is looked up each time, and if the Hub is
        unreachable, its cached copy is used with a warning.

        Raises:
            ValueError: If a name in the row could escape its folder, or `cache_dir` is not a path.
            IntegrityError: If the bytes found are not the pinned or announced ones.
            WeightsError: If no source has the file, or one cannot be read.
        """
        if self.preset is not None:
            return self._pinned(self.preset)
        return WeightFile(self.path) if self.path is not None else self._announced()

    def _pinned(self, preset: Preset) -> WeightFile:
        check_preset(preset)
        cache_folder(self.cache_dir)  # checked even if it is not needed
        tried: list[Path] = []
        mirror = os.environ.get(MIRROR_VARIABLE)
        if mirror:
            path = Path(mirror, preset.name, preset.file)
            if found := _with_pinned_bytes(path, preset, "mirror"):
                return found
            if path.is_file():
                raise IntegrityError(_refusal(preset, [path], f"of {MIRROR_VARIABLE}"))
        checkout = Path(self.weights_folder or CHECKOUT_WEIGHTS)
        for folder, place in ((checkout, "checkout"), (PACKAGE_WEIGHTS, "package")):
            path = folder / preset.name / preset.file
            if found := _with_pinned_bytes(path, preset, place):
                return found
            if path.is_file():
                tried.append(path)
        if preset.revision is None:
            kind = IntegrityError if tried else WeightsError
            raise kind(_refusal(preset, tried, "it is not on the Hub yet"))
        cached = cached_file(preset.repo, preset.file, preset.revision, self.cache_dir)
        if cached is not None:
            if found := _with_pinned_bytes(cached, preset, "cache"):
                return found
            tried.append(cached)
        if is_offline(self.local_files_only):
            reason = "the network is switched off by local_files_only or HF_HUB_OFFLINE"
            raise (IntegrityError if tried else WeightsError)(_refusal(preset, tried, reason))
        pinned = (preset.sha256, preset.size)
        try:
            path = fetch(preset.repo, preset.file, preset.revision, self.cache_dir, pinned)
        except WeightsError as error:
            reason = "the Hub sent none"
            raise type(error)(f"{error} {_refusal(preset, tried, reason)}") from None
        return WeightFile(path, f"preset {preset.name} (hub)", "hub", preset.sha256)

    def _announced(self) -> WeightFile:
        cached = cached_file(self.repo, self.file, self.revision, self.cache_dir)
        offline = is_offline(self.local_files_only)
        if cached and (offline or is_commit(self.revision)) and _is_verified(cached):
            return self._in_cache(cached)
        if offline:
            raise WeightsError(
                f"{self.name} is not in the Hub's cache, or cannot be verified there, and the "
                "network is disabled (local_files_only or HF_HUB_OFFLINE). Fetch it with "
                "keras_pdenets.prefetch while online, or pass the path of a trusted file as "
                "weights=."
            )
        try:
            return self._in_cache(fetch(self.repo, self.file, self.revision, self.cache_dir))
        except UnreachableError as error:
            if not (cached and _is_verified(cached)):
                raise
            _LOG.warning("%s The cached copy of %s is used.", error, self.name)
            return self._in_cache(cached)

    def _in_cache(self, path: Path) -> WeightFile:
        """A verified file of the cache, which is verified again when it is read."""
        return WeightFile(path, self.name, digest=_announced_digest(path) or None)


def check_access(
    revision: object, cache_dir: object, local_files_only: object
) -> tuple[Path | None, bool]:
    """Check and return `cache_dir` and `local_files_only`; check `revision`."""
    if not (revision is None or (isinstance(revision, str) and revision)):
        raise ValueError(
            f"`revision` must be a commit, tag or branch, or None. Received: revision={revision!r}"
        )
    cache = None if cache_dir is None else check_path("cache_dir", cache_dir)
    return cache, check_flag("local_files_only", local_files_only)


def _path_of(weights: str | Path) -> Path | None:
    """The weight file at a path, or None for a probable misspelling of a preset's name."""
    path = check_path("weights", weights)
    try:
        if path.is_dir():
            path = path / WEIGHTS_FILE
        return path if path.is_file() or path.suffix or path.parent != Path() else None
    except OSError as error:  # a name that is too long, an unreadable folder
        raise WeightsError(f"`weights`: {printable(str(weights))}: {error.strerror}") from error


def _with_pinned_bytes(path: Path, preset: Preset, place: str) -> WeightFile | None:
    """The file with its bytes in memory, if they are the pinned ones."""
    try:
        if not path.is_file() or path.stat().st_size != preset.size:
            return None
    except OSError as error:  # an unreadable folder, a path that is too long
        raise WeightsError(f"{path} cannot be read ({error.strerror}).") from None
    file = WeightFile(path, f"preset {preset.name} ({place})", place)
    # The size of the opened file again: nothing larger is read.
    return file if file.size == preset.size and file.sha256 == preset.sha256 else None


def _refusal(preset: Preset, tried: list[Path], reason: str) -> str:
    """What is expected, what was found instead, and what to do."""
    found = "; ".join(describe(path) for path in tried) or "no copy on this machine"
    source = "a fresh copy (git checkout weights, in a checkout)"
    if preset.revision is not None:
        source = f"{url_of(preset.repo, preset.file, preset.revision)} or {source}"
    return (
        f"Preset {preset.name!r} is {preset.size} bytes with sha256 {preset.sha256}. "
        f"Found: {found}. Other bytes are never used ({reason}). By hand: put {preset.file} from "
        f"{source} into a folder named {preset.name}, and set {MIRROR_VARIABLE} to its parent "
        "folder; or start untrained with weights=None."
    )


def _announced_digest(path: Path) -> str:
    """The hash in the name of the blob that a snapshot links to, or an empty string.

    Only the first link counts: a blob in the client's shared store is named by another hash.
    """
    try:
        return path.readlink().name if path.is_symlink() else ""
    except OSError:  # not readable
        return ""


def _is_verified(path: Path) -> bool:
    try:
        return matches(path, _announced_digest(path))
    except OSError:  # a broken link, or not readable
        return False

"""Upload to a Hub repository: one commit, compared, downloaded without a token, then tagged."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.hf_api import RepoFile

from keras_pdenets.hub.client_errors import explain, status_of
from keras_pdenets.hub.digests import is_commit, matches, sha256_of
from keras_pdenets.hub.download import fetch
from keras_pdenets.hub.errors import IntegrityError, UnreachableError, WeightsError
from keras_pdenets.hub.names import is_repo
from keras_pdenets.utils.names import is_name

_MAIN = "main"


def check_target(repo: str, tag: str, files: dict[str, Path]) -> None:
    """Raise ValueError unless repository, tag and files have valid names."""
    if not is_repo(repo):
        raise ValueError(f"`repo` must be organisation/repository. Received: repo={repo!r}")
    for name in (tag, *files):
        if not is_name(name):
            raise ValueError(f"Tags and files must have plain names. Received: {name!r}")


@contextmanager
def _explained(repo: str, state: str) -> Iterator[None]:
    """Turn the client's errors into a sentence without secrets that states what was done."""
    try:
        yield
    except WeightsError:
        raise
    except Exception as error:  # the client's network errors have no common base
        # The client wraps the cause of a failed upload in a RuntimeError with only the file's name.
        first = error.__cause__ if type(error) is RuntimeError else None
        error = first if isinstance(first, Exception) else error
        cause, passing = explain(error, repo, "commit", _MAIN)
        if status_of(error) == 412:
            cause, passing = "there was another commit in the meantime", True
        kind = UnreachableError if passing else WeightsError
        # The client's own text may hold a token or a signed address: it is not shown.
        raise kind(
            f"{repo} could not be published: {cause}. {state}; the same command resumes."
        ) from None


def commit_files(repo: str, files: dict[str, Path], tag: str, message: str) -> tuple[str, bool]:
    """Commit all files, unless the repository has a commit of exactly these bytes.

    Args:
        repo: The repository; it is created if missing.
        files: Local files by name.
        tag: The later tag: if it exists, its commit must have these files.
        message: Title of the commit.

    Returns:
        The commit, and whether it existed before.

    Raises:
        WeightsError: If the Hub refuses, or the tag has other files.
    """
    check_target(repo, tag, files)
    api = HfApi(library_name="keras_pdenets")
    with _explained(repo, "Nothing was tagged"):
        api.create_repo(repo, exist_ok=True)
        tagged = _tagged(api, repo, tag)
        if tagged is not None:
            if wrong := _differing(api, repo, tagged, files):
                raise WeightsError(
                    f"{repo} already has a tag {tag} of other files ({', '.join(wrong)}). Tags "
                    "are not moved: choose another one."
                )
            return _commit(repo, tagged), True
        head = api.model_info(repo).sha
        if head is not None and not _differing(api, repo, head, files):
            return _commit(repo, head), True
        operations = [CommitOperationAdd(name, str(path)) for name, path in files.items()]
        # Not upload_folder, which may make several commits; and never on top of an unseen commit.
        made = api.create_commit(
            repo, operations, commit_message=message, revision=_MAIN, parent_commit=head
        )
        if wrong := _differing(api, repo, made.oid, files):
            raise IntegrityError(
                f"{repo} holds other bytes than were sent: {', '.join(wrong)}, in commit "
                f"{made.oid}. It was not tagged."
            )
        return _commit(repo, made.oid), False


def _commit(repo: str, text: str) -> str:
    """Check a commit from an answer, which becomes part of a path."""
    if not is_commit(text):
        raise WeightsError(f"{repo} has an invalid commit: the answer does not come from a Hub.")
    return text


def _tagged(api: HfApi, repo: str, tag: str) -> str | None:
    """The commit of a tag, or None."""
    tags = api.list_repo_refs(repo).tags
    return next((ref.target_commit for ref in tags if ref.name == tag), None)


def _differing(api: HfApi, repo: str, commit: str, files: dict[str, Path]) -> list[str]:
    """Names of the files that a commit lacks or has with other bytes."""
    entries = api.list_repo_tree(repo, revision=commit)
    there = {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}
    return sorted(n for n, path in files.items() if n not in there or not _same(there[n], path))


def _same(entry: RepoFile, path: Path) -> bool:
    digest = entry.lfs.sha256 if entry.lfs is not None else entry.blob_id
    return entry.size == path.stat().st_size and matches(path, digest or "")


def read_back(repo: str, commit: str, files: dict[str, Path], cache: Path) -> dict[str, Path]:
    """Download all files of a commit without a token, and compare them.

    Args:
        repo: The repository.
        commit: The commit.
        files: The local files by name.
        cache: An empty folder.

    Returns:
        The downloaded files by name.

    Raises:
        IntegrityError: If a file has other bytes.
        WeightsError: If one cannot be obtained without a token.
    """
    found = {}
    for name, sent in files.items():
        pinned = (sha256_of(sent), sent.stat().st_size)
        try:
            found[name] = fetch(repo, name, commit, cache, pinned, anonymous=True)
        except IntegrityError as error:
            raise IntegrityError(
                f"{error} Commit {commit} was not tagged; the same command checks again."
            ) from None
    return found


def tag_commit(repo: str, commit: str, tag: str) -> None:
    """Tag a commit, unless it has the tag already.

    Raises:
        WeightsError: If the tag is of another commit, or the Hub refuses.
    """
    api = HfApi(library_name="keras_pdenets")
    # If the answer is lost, the Hub may still have set the tag.
    with _explained(repo, f"{commit} may have its tag {tag} or not"):
        try:
            if _tagged(api, repo, tag) is None:
                api.create_tag(repo, tag=tag, revision=commit)
        except HfHubHTTPError as error:
            if status_of(error) != 409:  # it was set in the meantime
                raise
        if (found := _tagged(api, repo, tag)) != commit:
            raise WeightsError(f"{repo} has a tag {tag} of another commit, {found}.")


def describe_files(files: dict[str, Path]) -> dict[str, dict[str, object]]:
    """Size and SHA-256 of each file."""
    return {
        name: {"size": path.stat().st_size, "sha256": sha256_of(path)}
        for name, path in sorted(files.items())
    }

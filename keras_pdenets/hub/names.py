"""Names that become URLs and paths: none may escape its folder."""

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from keras_pdenets.hub.digests import is_commit, is_sha256
from keras_pdenets.presets import Preset
from keras_pdenets.utils.names import is_name

_LONGEST_REVISION = 200


def is_repo(text: object) -> bool:
    """Whether a text is `organisation/repository`, also by the Hub's rules.

    Example:
    >>> [is_repo(text) for text in ("someone/net", "net", "../net", "a/b/c", "a/" + 97 * "b")]
    [True, False, False, False, False]
    """
    if not isinstance(text, str):
        return False
    parts = text.split("/")
    if len(parts) != 2 or not all(is_name(part) for part in parts):
        return False
    try:
        validate_repo_id(text)
    except HFValidationError:
        return False
    return True


def is_revision(text: object) -> bool:
    """Whether a text can be a branch, tag or commit, such as `refs/pr/1`."""
    return (
        isinstance(text, str)
        and len(text) <= _LONGEST_REVISION
        and all(is_name(part) for part in text.split("/"))
    )


def parse_address(address: str, revision: str | None) -> tuple[str, str | None]:
    """Repository and revision of `hf://organisation/repository[@revision]`.

    Args:
        address: The text.
        revision: The revision, if given separately.

    Returns:
        The repository and its revision, or None for the main branch.

    Raises:
        ValueError: If the address has another form.

    Example:
    >>> parse_address("hf://someone/net@v1", None)
    ('someone/net', 'v1')
    """
    repo, _, at = address.removeprefix("hf://").partition("@")
    chosen = at or revision
    if (
        not is_repo(repo)
        or (at and revision)
        or address.endswith("@")
        or not (chosen is None or is_revision(chosen))
    ):
        raise ValueError(
            "`weights` must be 'hf://organisation/repo', with at most one revision (after @ or as "
            f"`revision`) and no other path. Received: weights={address!r}, revision={revision!r}"
        )
    return repo, chosen


def check_preset(preset: Preset) -> None:
    """Raise a ValueError unless all names of a row are plain and its hashes valid."""
    rules = {
        "name": is_name(preset.name),
        "file": is_name(preset.file),
        "repo": is_repo(preset.repo),
        "revision": preset.revision is None or is_commit(preset.revision),
        "sha256": is_sha256(preset.sha256),
        "size": isinstance(preset.size, int) and preset.size > 0,
    }
    for field, holds in rules.items():
        if not holds:
            raise ValueError(
                f"`{field}` of a preset must be a valid name, organisation/repo, commit, hash or "
                f"size. Received: {field}={getattr(preset, field)!r}"
            )

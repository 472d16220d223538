"""The real huggingface_hub client, led to the loopback Hub."""

import os

from huggingface_hub import constants, get_async_session
from huggingface_hub.utils import close_session

from keras_pdenets.hub import transfer

TEMPLATE = "/{repo_id}/resolve/{revision}/{filename}"
_LOCAL = "127.0.0.1,localhost"


OWN = get_async_session()


def _session():
    """The client's own session but for the certificates, which take 50 ms to read."""
    return type(OWN)(event_hooks=OWN.event_hooks, follow_redirects=True, timeout=None, verify=False)


def lead_here(monkeypatch, hub, folder):
    """Within this process. The client reads its settings at import, so its constants are changed.

    Args:
        monkeypatch: pytest's fixture, which takes everything back.
        hub: A `LoopbackHub`.
        folder: Folder for the client's cache and its saved token.
    """
    settings = {
        "ENDPOINT": hub.endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.endpoint + TEMPLATE,
        "HF_HUB_OFFLINE": False,
        "HF_HUB_CACHE": str(folder / "cache"),
        "HF_TOKEN_PATH": str(folder / "token"),
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_DISABLE_TELEMETRY": True,
    }
    for name, value in settings.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr(transfer, "get_async_session", _session)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_DOWNLOAD_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, _LOCAL)
    close_session()  # it has kept the proxies of before


def environment(hub, folder, **more):
    """For a process of its own: a backend that loads fast, no plugins, the loopback Hub."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return {
        **kept,
        "KERAS_BACKEND": "numpy",
        "OMP_NUM_THREADS": "1",
        "HOME": str(folder),
        "HF_HOME": str(folder),
        "HF_HUB_CACHE": str(folder / "cache"),
        "HF_ENDPOINT": hub.endpoint,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": _LOCAL,
        "no_proxy": _LOCAL,
        **more,
    }

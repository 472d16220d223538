"""ONNX Runtime Web, from its package of npm: what runs the nets in the browser."""

import contextlib
import shutil
import tarfile
import tempfile
from pathlib import Path

from keras_pdenets.demo.packing import write_packed
from keras_pdenets.utils.extras import require
from keras_pdenets.utils.json_files import load_json
from keras_pdenets.utils.processes import run_program

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
# The smallest build that runs ONNX on the CPU: no WebGPU, no WebGL, WebAssembly of its own.
SCRIPT, BINARY = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
_LICENCES = ("LICENSE", "ThirdPartyNotices.txt")
_MINUTES = 10


def check_runtime(folder):
    """Raise before any work if the runtime can be had from nowhere.

    Args:
        folder: Folder of the unpacked npm package, or None: `npm` fetches it.

    Raises:
        FileNotFoundError: If the folder is not that package, or there is no `npm`.
    """
    if folder is None:
        if shutil.which("npm") is None:
            raise FileNotFoundError(
                f"`runtime` must be a folder with the npm package {PACKAGE} where npm is not "
                f"installed: unpack {PACKAGE}-{VERSION}.tgz, which `npm pack {PACKAGE}@{VERSION}` "
                "writes on another machine. Received: None, and no npm on the PATH"
            )
        return
    record = Path(folder, "package.json")
    name = load_json(record).get("name") if record.is_file() else None
    missing = [file for file in (SCRIPT, BINARY) if not Path(folder, "dist", file).is_file()]
    if name != PACKAGE or missing:
        reason = f"without dist/{missing[0]}" if name == PACKAGE else f"of {name or 'no package'}"
        raise FileNotFoundError(
            f"`runtime` must be the folder of the unpacked npm package {PACKAGE} (tried: "
            f"{VERSION}), the one with package.json. Received: {folder}, {reason}"
        )


def copy_runtime(folder, target):
    """Put the runtime and its licences in a folder.

    Args:
        folder: As in `check_runtime`.
        target: The folder; it is made.

    Returns:
        The runtime's version.

    Raises:
        FileNotFoundError: As in `check_runtime`.
        RuntimeError: If npm does not fetch the package.
    """
    with _package(folder) as package:
        check_runtime(package)
        target.mkdir()
        shutil.copyfile(package / "dist" / SCRIPT, target / SCRIPT)
        write_packed(target / f"{BINARY}.gz", (package / "dist" / BINARY).read_bytes())
        # The npm package names its licence, MIT, without the text; Python's of the same project
        # has it, and those of what is compiled in.
        texts = Path(require("onnxruntime", "export").__file__).parent
        for name in _LICENCES:
            own = package / name
            shutil.copyfile(own if own.is_file() else texts / name, target / name)
        return str(load_json(package / "package.json")["version"])


@contextlib.contextmanager
def _package(folder):
    if folder is not None:
        yield Path(folder)
        return
    check_runtime(None)
    with tempfile.TemporaryDirectory() as work:
        yield _fetch(Path(work))


def _fetch(work):
    """The package, fetched by npm, which compares its hash, and unpacked."""
    command = [shutil.which("npm"), "pack", f"{PACKAGE}@{VERSION}", "--silent"]
    try:
        status, said = run_program(command, work, 60 * _MINUTES)
    except TimeoutError:
        raise RuntimeError(f"npm did not fetch {PACKAGE} within {_MINUTES} minutes.") from None
    archives = list(work.glob("*.tgz"))
    if status or len(archives) != 1:
        raise RuntimeError(
            f"npm did not fetch {PACKAGE}@{VERSION} ({said or 'it said nothing'}). "
            "Where there is no registry, give `runtime`, the folder of the unpacked package."
        )
    package = work / "package"
    (package / "dist").mkdir(parents=True)
    with tarfile.open(archives[0]) as archive:
        # These alone: no path inside the archive is followed. What is missing is named later.
        for name in ("package.json", f"dist/{SCRIPT}", f"dist/{BINARY}", *_LICENCES):
            with contextlib.suppress(KeyError):
                file = archive.extractfile(f"package/{name}")
                (package / name).write_bytes(file.read() if file else b"")
    return package

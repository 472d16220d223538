"""The original Fashion-MNIST archives from Debian's package, byte for byte.

Debian's package `dataset-fashion-mnist` ships the archives with the file name and the time stamp
taken out of their gzip headers, so that their checksums differ from the published ones. Putting
both back gives the files whose SHA-256 TFDS pins; a folder of them serves as its `manual_dir`,
and `download_and_prepare` works with no network.
"""

import functools
import hashlib
import struct
from pathlib import Path

from keras_pdenets.utils.atomic import replace_file

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
# name: (time stamp in the original gzip header, SHA-256 of the original)
ARCHIVES = {
    "train-images-idx3-ubyte": (
        1504176606,
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    ),
    "train-labels-idx1-ubyte": (
        1504176606,
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    ),
    "t10k-images-idx3-ubyte": (
        1504176627,
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    ),
    "t10k-labels-idx1-ubyte": (
        1504176627,
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
}


def original_bytes(name: str, source: Path = DEBIAN_FOLDER) -> bytes:
    """The original archive `name`.gz, rebuilt from Debian's copy in `source`.

    Raises:
        ValueError: If the result is not the published file.
    """
    stamp, digest = ARCHIVES[name]
    deflate_stream = (source / f"{name}.gz").read_bytes()[10:]
    header = b"\x1f\x8b\x08\x08" + struct.pack("<I", stamp) + b"\x00\x03" + name.encode() + b"\x00"
    data = header + deflate_stream
    if hashlib.sha256(data).hexdigest() != digest:
        raise ValueError(f"{source / name}.gz: SHA-256 differs from the published archive.")
    return data


def lay_originals(folder: Path, source: Path = DEBIAN_FOLDER) -> None:
    """Write the four original archives into `folder`; all are checked before one is written."""
    archives = {name: original_bytes(name, source) for name in ARCHIVES}
    for name, data in archives.items():
        replace_file(folder / f"{name}.gz", functools.partial(Path.write_bytes, data=data))

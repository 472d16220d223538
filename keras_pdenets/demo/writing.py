"""The page in a folder, whole or not at all."""

import json
import shutil
from collections import Counter
from pathlib import Path

import keras
import numpy as np

from keras_pdenets.data import load_sample
from keras_pdenets.data.sample import SAMPLE_LICENCE
from keras_pdenets.demo.card import space_card
from keras_pdenets.demo.net_files import write_net
from keras_pdenets.demo.nets import SHOWN_NETS
from keras_pdenets.demo.runtime import BINARY, SCRIPT, check_runtime, copy_runtime
from keras_pdenets.presets import get_preset
from keras_pdenets.utils.atomic import temporary_folder
from keras_pdenets.utils.checks import check_integer, check_path
from keras_pdenets.utils.extras import require

PAGE = Path(__file__).with_name("page")
_FEWEST = 80  # images of the bundled sample that hold two of each class


def write_demo(folder, runtime=None, images=200, verbose=1):
    """Write the page that runs the shipped nets in the browser.

    A folder of static files for any web server (`python -m http.server`) or a Space of the Hub of
    the kind `static`: HTML, script and style; the nets as ONNX, with outputs behind each block and
    in variants of other step sizes, compared with Keras before they are written; ONNX Runtime Web;
    the Space's card. The page asks no other host for anything.

    Args:
        folder: Where to write: a folder that is empty or not there yet.
        runtime: Folder of the unpacked npm package `onnxruntime-web`, or None: `npm` fetches it.
        images: How many images of the bundled sample (80 to 1000) the ways of the classes, the
            colours and the batch norms of other step sizes are measured on, and the 20 of the page
            are chosen from.
        verbose: 0: no progress bar.

    Returns:
        The folder.

    Raises:
        ValueError: If `images` is out of range.
        FileExistsError: If there is something in the folder, or it is a file.
        FileNotFoundError: If `runtime` is not that package, or neither it nor npm is there.
        ImportError: If ONNX or its runtime is missing.
        RuntimeError: If npm does not fetch the package, or an exported net gives other numbers.

    Example:
    >>> from keras_pdenets.demo import write_demo
    >>> write_demo("page")  # doctest: +SKIP
    """
    folder = check_path("folder", folder).absolute()
    _check_empty(folder)
    count = check_integer("images", images, _FEWEST, 1000)
    check_runtime(runtime)
    for module in ("onnx", "onnxruntime"):
        require(module, "export")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(folder.parent) as work:
        made = work / folder.name
        _write(made, runtime, count, work, verbose)
        _check_empty(folder)
        if folder.exists():
            folder.rmdir()
        made.rename(folder)
    return folder


def _check_empty(folder):
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise FileExistsError(
            f"`folder` must be empty or not there yet: a page is never mixed with other files. "
            f"Received: {folder}"
        )


def _write(made, runtime, count, work, verbose):
    shutil.copytree(PAGE, made, ignore=shutil.ignore_patterns("__pycache__"))
    version = copy_runtime(runtime, made / "runtime")
    images, labels = (part[:count] for part in load_sample())
    bar = keras.utils.Progbar(len(SHOWN_NETS), verbose=verbose, unit_name="net")
    records, answers = [], []
    for row in SHOWN_NETS:
        record, answer = write_net(row, made / "nets" / row.key, work, images, labels)
        records.append(record)
        answers.append(answer.argmax(axis=1))
        bar.add(1)
    chosen = choose_samples(np.array(answers), labels)
    (made / "samples.bin").write_bytes(images[chosen].tobytes())
    shutil.copyfile(SAMPLE_LICENCE, made / "samples_LICENSE")
    checkpoint = get_preset(SHOWN_NETS[0].preset).checkpoint
    description = {
        "classes": list(checkpoint.class_names),
        "side": checkpoint.input_shape[0],
        "samples": {"file": "samples.bin", "labels": [int(labels[i]) for i in chosen]},
        "runtime": {
            "version": version, "script": f"runtime/{SCRIPT}", "binary": f"runtime/{BINARY}.gz",
        },
        "nets": records,
    }  # fmt: skip
    text = json.dumps(description, separators=(",", ":"), allow_nan=False)
    (made / "demo.json").write_text(text, encoding="utf-8")
    (made / "README.md").write_text(space_card(version), encoding="utf-8")


def choose_samples(answers, labels):
    """Two images of each class: one that all nets know, then one on which they differ.

    Args:
        answers: Classes that the nets give, of shape (nets, images).
        labels: The right ones, of shape (images,).

    Returns:
        Numbers of the images, class by class.
    """
    right = (answers == labels).sum(axis=0)
    differ = np.array([len(Counter(column)) for column in answers.T])
    chosen = []
    for label in np.unique(labels):
        (of_class,) = np.nonzero(labels == label)
        easy = of_class[np.argmax(right[of_class])]
        others = of_class[of_class != easy]
        # The most different answers; among those, where most nets are right all the same.
        hard = others[np.lexsort((-right[others], -differ[others]))[0]]
        chosen += [int(easy), int(hard)]
    return chosen

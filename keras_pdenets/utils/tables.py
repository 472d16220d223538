"""Reading and writing CSV files."""

import csv
from pathlib import Path

from keras_pdenets.utils.atomic import replace_file


def write_rows(path, rows):
    """Write a CSV file, atomically.

    Args:
        path: The file.
        rows: Dictionaries, at least one; the keys of the first are the columns.
    """

    def write(temporary):
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    replace_file(Path(path), write)


def read_rows(path):
    """The rows of a CSV file, as dictionaries of strings."""
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))

"""Results as tables in files."""

import csv

from keras_pdenets.utils.atomic import replace_file


def write_rows(path, rows):
    """Write a CSV file, whole or not at all.

    Args:
        path: The file.
        rows: Dictionaries, at least one; the keys of the first are the columns.
    """

    def write(temporary):
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    replace_file(path, write)

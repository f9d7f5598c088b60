"""Print how well the performance model agrees with reference tables.

    python tools/check_perf.py layers.csv.gz networks.csv.gz boards.csv --lists FOLDER [--json]

Each table is recognised by its name; ``--lists`` is the folder of layer lists (by default
``networks`` beside the table).
"""

import argparse
import json
import sys
from pathlib import Path

from npusim.errors import NpusimError
from npusim.perfmodel.tables import GroupError, board_errors, layer_errors, network_errors


def errors_of(path: Path, lists: Path | None) -> list[GroupError]:
    """Return the errors of one table."""
    if path.name.startswith("boards"):
        return board_errors(path, lists.parent if lists else None)
    if path.name.startswith("networks"):
        return network_errors(path, lists or path.parent / "networks")
    return layer_errors(path)


def main() -> int:
    """Print one line per group; return 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="+", type=Path)
    parser.add_argument("--lists", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        found = [e for table in options.tables for e in errors_of(table, options.lists)]
    except NpusimError as error:
        print(error, file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps([error.to_dict() for error in found], indent=1))
        return 0
    print(f"{'table':<10}{'group':<28}{'rows':>6}{'median':>9}{'p95':>9}{'bias':>9}")
    for error in found:
        print(
            f"{error.table:<10}{error.group:<28}{error.rows:>6}{error.median_error:>9.2%}"
            f"{error.p95_error:>9.2%}{error.bias:>+9.2%}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())

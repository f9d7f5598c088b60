"""Print how well the performance model agrees with reference tables.

    python tools/check_perf.py layers.csv.gz networks.csv.gz boards.csv [--json]

The same as ``npusim conformance`` of the tables, without the command line's own start-up. Layer
lists are looked for beside each table.
"""

import argparse
import json
import sys
from pathlib import Path

from npusim.errors import NpusimError
from npusim.perfmodel.agreement import table_errors


def main() -> int:
    """Print one line per group; return 1 for errors beyond the targets, 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="+", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        found = [e for table in options.tables for e in table_errors(table)]
    except NpusimError as error:
        print(error, file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps([error.to_dict() for error in found], indent=1))
        return int(not all(e.ok for e in found))
    heads = "".join(f"{head:>9}" for head in ("median", "p95", "mean", "worst", "bias"))
    print(f"{'table':<10}{'group':<32}{'rows':>6}{heads}")
    for error in found:
        print(
            f"{error.table:<10}{error.group:<32}{error.rows:>6}{error.median_error:>9.2%}"
            f"{error.p95_error:>9.2%}{error.mean_error:>9.2%}{error.worst_error:>9.2%}"
            f"{error.bias:>+9.2%}"
            f"{'' if error.ok else '  beyond its target'}"
        )
    return int(not all(e.ok for e in found))


if __name__ == "__main__":
    sys.exit(main())

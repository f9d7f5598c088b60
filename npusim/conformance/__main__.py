"""``python -m npusim.conformance PATH...``: check golden files and tables, print what differs."""

import argparse
import sys
from collections import Counter

from npusim.conformance.forms import FLOAT, FORMS
from npusim.conformance.inputs import conform
from npusim.conformance.replay import Result, summary
from npusim.edge import guarded

_ROW = "{:24} {:24} {:10} {:>5} {:>9} {:>9} {:>8} {:>8} {:>6}  {}"


def row(result: Result) -> str:
    """Return the table line of a result."""
    return _ROW.format(
        result.file,
        result.op,
        result.dtype,
        result.cases,
        result.elements,
        result.mismatches,
        result.max_diff,
        result.granted,
        len(result.errors),
        "ok" if result.ok else "FAIL",
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0 when all is well, 1 for differences, 2 for bad input."""
    return guarded(lambda: sys.exit(_checked(arguments)))


def _checked(arguments: list[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="python -m npusim.conformance", description=__doc__)
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="golden npz files, tables or folders"
    )
    parser.add_argument("--failed", action="store_true", help="print failing rows only")
    parser.add_argument(
        "--run", choices=list(FORMS), default=FLOAT, help="what recorded models are run in"
    )
    options = parser.parse_args(arguments)
    found = conform(options.paths, options.run)
    if found.golden:
        print(
            _ROW.format(
                "file",
                "op",
                "types",
                "cases",
                "elements",
                "differ",
                "max diff",
                "granted",
                "errors",
                "",
            ).rstrip()
        )
        for result in found.golden:
            if not (options.failed and result.ok):
                print(row(result))
            for message, count in Counter(e.partition(": ")[2] for e in result.errors).items():
                first = next(e for e in result.errors if e.endswith(message))
                print(f"    {count} x {first}")
        print(summary(found.golden))
    for group in found.tables:
        if not (options.failed and group.ok):
            print(
                f"{group.table:24} {group.group:28} {group.rows:>5} rows  "
                f"median {group.median_error:7.2%}  p95 {group.p95_error:7.2%}  "
                f"bias {group.bias:+7.2%}  {'ok' if group.ok else 'FAIL'}"
            )
    for models in found.models:
        print(
            f"{models.file:24} {models.framework:12} {models.cases:>5} cases  "
            f"{models.agreed:>5} agree  {models.refused:>4} refused rightly  "
            f"{len(models.deviations):>4} deviate  {len(models.failures):>4} fail  {models.note}"
        )
        for line in models.failures:
            print(f"    {line}")
    return 0 if found.ok else 1


if __name__ == "__main__":
    sys.exit(main())

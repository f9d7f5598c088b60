"""The command line, ``npusim COMMAND``: one module a command, listed in ``app``.

Exit codes: 0 ok, 1 mismatch, 2 bad input, usage or system, 3 a fault of npusim, 130 interrupted.
"""

import sys


def start() -> None:
    """Run the command line in a process of its own and exit."""
    from npusim.cli import collector

    collector.pause()
    main()


def main() -> None:
    """Run the command line and exit."""
    from npusim.edge import guarded

    sys.exit(guarded(_run, look="; --debug shows where"))


def _run() -> None:
    from npusim.cli.app import app
    from npusim.cli.log import library_messages
    from npusim.words import FrontEnd, speaking

    with speaking(FrontEnd.CLI), library_messages():
        app()

"""The command line, ``npusim COMMAND``: one module a command, listed in ``app``.

Exit codes: 0 ok, 1 mismatch, 2 bad input or usage.
"""

import sys


def main() -> None:
    """Run the command line and exit."""
    from npusim.cli.app import app
    from npusim.cli.common import print_error
    from npusim.cli.log import library_messages
    from npusim.errors import NpusimError
    from npusim.words import FrontEnd, speaking

    with speaking(FrontEnd.CLI), library_messages():
        try:
            app()
        except NpusimError as error:
            print_error(error)
            sys.exit(2)

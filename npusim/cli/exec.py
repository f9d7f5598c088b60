"""``npusim exec``."""

import sys
from typing import Annotated, Any

import typer

from npusim.cli.log import without_library_messages
from npusim.cli.uses import NO_FILE, READ
from npusim.errors import ConfigError
from npusim.words import FrontEnd, speaking

NAME = "exec"
CONTEXT: dict[str, Any] = {"allow_interspersed_args": False}
"""Options behind the script are the script's."""
FAILED_CALLS = 2


def command(
    script: Annotated[
        str | None,
        typer.Argument(metavar="SCRIPT", help="A script for the vendor's toolkit."),
        READ,
    ] = None,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ARGS]...", help="What the script is given."),
        NO_FILE,
    ] = None,
    module: Annotated[
        str | None,
        typer.Option(
            "-m", "--module", metavar="NAME", help="Run a module: rknn.bin.list_devices, .."
        ),
        NO_FILE,
    ] = None,
    ignore_failures: Annotated[
        bool,
        typer.Option(
            "--ignore-failures",
            help="Keep exit code 0 of a script although calls of RKNN failed in it.",
        ),
    ] = False,
    install_alias: Annotated[
        bool,
        typer.Option(
            "--install-alias", help="Let rknn.api and rknnlite.api lead to npusim everywhere."
        ),
    ] = False,
    remove_alias: Annotated[
        bool, typer.Option("--remove-alias", help="Undo --install-alias.")
    ] = False,
) -> None:
    """Run an unedited script for RKNN-Toolkit 1.x; rknn.api and rknnlite.api lead to npusim."""
    if install_alias or remove_alias:
        _alias(install=install_alias, remove=remove_alias, others=script or module)
        return
    given = [*filter(None, [script]), *(arguments or ())]
    if not (module or given):
        raise ConfigError(
            "there is no script to run", rule="npusim exec SCRIPT [ARGS]..", where="npusim exec"
        )
    from npusim.clients.script import run_module, run_script

    with without_library_messages(), speaking(FrontEnd.PYTHON):
        ended = run_module(module, given) if module else run_script(given[0], given[1:])
    code = ended.code
    if ended.failures and not code and not ignore_failures:
        sys.stdout.flush()
        calls = ", ".join(
            name + (f" ({count} times)" if count > 1 else "")
            for name, count in ended.failures.items()
        )
        print(
            f"E npusim exec: {calls} failed, yet {module or script} ended with exit code 0: what "
            "it should have made may be missing. The reasons stand above; --ignore-failures keeps "
            "exit code 0",
            file=sys.stderr,
        )
        code = FAILED_CALLS
    raise typer.Exit(code)


def _alias(*, install: bool, remove: bool, others: object) -> None:
    from npusim.clients.install import install_alias, remove_alias

    if others or (install and remove):
        raise ConfigError(
            "--install-alias and --remove-alias stand alone",
            where="npusim exec",
            rule="one of them",
        )
    typer.echo(install_alias() if install else remove_alias())

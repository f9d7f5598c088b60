"""The application object; each command is in a file of its own."""

import typer

from npusim.cli import compare, conformance, demo, dump, info, ops, perf, quantize, run

app = typer.Typer(
    name="npusim",
    help="Simulate the Rockchip RK1808 / RK3399Pro NPU: exact bits, honest times.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def version(
    context: typer.Context,
    show: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    """Handle options before the command."""
    if show:
        from npusim import __version__

        typer.echo(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


for module, help_text in (
    (demo, "Run the whole job on the bundled classifier and its images."),
    (run, "Run a model bit-exactly and print its outputs."),
    (quantize, "Quantize a model and store it."),
    (perf, "Estimate time per layer."),
    (dump, "Write every layer's output."),
    (compare, "Compare every layer with the float source model."),
    (info, "Show what a model holds and what of it is unsupported."),
    (ops, "List supported operators, their engines and constraints."),
    (conformance, "Replay recorded golden vectors."),
):
    app.command(module.NAME, help=help_text)(module.command)

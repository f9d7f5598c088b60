"""The application object; each command is in a file of its own and imported when it is called."""

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from npusim import edge
from npusim.cli import collector
from npusim.cli.uses import guarded
from npusim.reading.trust import HELP, trust_files

COMMANDS = {
    "demo": "Run the whole job on the bundled classifier and its images.",
    "run": "Run a model bit-exactly and print its outputs.",
    "quantize": "Quantize a model and store it.",
    "tune": "Search which layers to raise to a wider format, accuracy against time.",
    "equalize": "Equalize weights across layers and write the float model as ONNX.",
    "export": "Write any model as ONNX; a quantized one with its own scales and codes.",
    "perf": "Estimate time per layer.",
    "dump": "Write every layer's output.",
    "compare": "Compare layers with the source framework, a dump or another run.",
    "analyze": "Find the layers that cost accuracy, why, and what to do next.",
    "report": "Write one page to send: which layer, why, what to do, what it costs.",
    "evaluate": "Measure accuracy on a labelled set, float beside quantized.",
    "info": "Show what a model holds and what of it is unsupported.",
    "ops": "List supported operators, their engines and constraints.",
    "explain": "Explain a warning by the code it ends in.",
    "warmup": "Compile every kernel now, so that later starts do not wait.",
    "exec": "Run an unedited script for RKNN-Toolkit 1.x.",
    "conformance": "Replay recorded golden vectors.",
}
EXAMPLES = {
    "demo": "npusim demo -o demo-results",
    "run": "npusim run net.onnx --input cat.jpg --mean 127.5 --std 127.5 --quantize u8 "
    "--dataset list.txt -o outputs",
    "quantize": "npusim quantize net.onnx --dataset list.txt --mean 127.5 --std 127.5 "
    "-o net.npusim",
    "tune": "npusim tune net.onnx --dataset list.txt --budget-us 9000 -o best.npusim",
    "equalize": "npusim equalize net.onnx --dataset list.txt -o equalized.onnx",
    "export": "npusim export net.rknn -o net.onnx",
    "perf": "npusim perf net.onnx --target rk1808 --top 10",
    "dump": "npusim dump net.npusim --input cat.jpg -o layers",
    "compare": "npusim compare net.onnx --quantize u8 --dataset list.txt --input cat.jpg",
    "analyze": "npusim analyze net.onnx --dataset list.txt --input cat.jpg -o analysis",
    "report": "npusim report net.onnx --dataset list.txt --input cat.jpg -o report.html",
    "evaluate": "npusim evaluate net.onnx --dataset labelled.txt --calibration list.txt "
    "--quantize u8,i16",
    "info": "npusim info net.onnx --layers",
    "ops": "npusim ops conv2d",
    "explain": "npusim explain lrn-zeros",
    "warmup": "npusim warmup",
    "exec": "npusim exec test.py rk1808",
    "conformance": "npusim conformance recorded/nn recorded/ops",
}


class LateCommands(TyperGroup):
    """Imports a command when it is called: most start in a fraction of the time of all."""

    def resolve_command(self, ctx: Any, args: Any) -> Any:
        """Return name, command and remaining arguments."""
        name, _, rest = super().resolve_command(ctx, args)
        module = import_module(f"npusim.cli.{name}")
        collector.resume()
        alone = _application()
        text, example = COMMANDS[str(name)], EXAMPLES[str(name)]
        settings = getattr(module, "CONTEXT", None)
        alone.command(name, help=text, epilog=f"Example: {example}", context_settings=settings)(
            guarded(module.command)
        )
        found = typer.main.get_command(alone)
        found.params += [_debug_option(), _trust_option()]
        return name, found, rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command; no error of the system ends in an exit code of the library's."""
        return edge.carry(lambda: super(LateCommands, self).invoke(ctx))


def _debug_option() -> Any:
    """Return ``--debug``, which every command takes, as the library makes it of a function."""
    alone = _application()

    @alone.command()
    def command(
        debug: bool = typer.Option(
            False, "--debug", help=edge.DEBUG_HELP, callback=edge.show_tracebacks, is_eager=True
        ),
    ) -> None: ...

    option = typer.main.get_command(alone).params[0]
    option.expose_value = False
    return option


def _trust_option() -> Any:
    """Return ``--trust``, in the same way."""
    alone = _application()

    @alone.command()
    def command(
        trust: bool = typer.Option(
            False, "--trust", help=HELP, callback=trust_files, is_eager=True
        ),
    ) -> None: ...

    option = typer.main.get_command(alone).params[0]
    option.expose_value = False
    return option


def _application(*, add_completion: bool = False, **options: Any) -> typer.Typer:
    return typer.Typer(add_completion=add_completion, pretty_exceptions_enable=False, **options)


app = _application(
    name="npusim",
    help="Simulate the Rockchip RK1808 / RK3399Pro NPU: exact bits, honest times.",
    no_args_is_help=True,
    add_completion=True,
    cls=LateCommands,
)


@app.callback(invoke_without_command=True)
def version(
    context: typer.Context,
    show: bool = typer.Option(False, "--version", help="Print the version and exit."),
    debug: bool = typer.Option(False, "--debug", help=edge.DEBUG_HELP),
    trust: bool = typer.Option(False, "--trust", help=HELP),
) -> None:
    """Handle options before the command."""
    edge.show_tracebacks(debug)
    trust_files(trust)
    if show:
        from npusim import __version__

        typer.echo(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def _named_only() -> None:
    """Stand for a command in the list of commands."""


for command_name, help_text in COMMANDS.items():
    app.command(command_name, help=help_text)(_named_only)

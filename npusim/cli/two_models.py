"""``npusim compare MODEL OTHER``: stored parameters and codes, and results on a sample."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

import npusim
from npusim.analysis.compare import Comparison
from npusim.analysis.parameters import (
    ParameterComparison,
    as_seen_by,
    compare_parameters,
    is_in_a_format,
)
from npusim.analysis.stored_ranges import era_of_file, quantize_like, scheme_of_maps
from npusim.cli import common
from npusim.errors import ConfigError
from npusim.ir.graph import Graph
from npusim.quantization.eras import era_of
from npusim.report.compare_table import comparison_table, verdict
from npusim.report.parameter_table import parameter_table, parameter_verdict


@dataclass(frozen=True, slots=True)
class Choices:
    """The options that both models share."""

    inputs: list[Path] | None
    scheme: str | None
    dataset: Path | None
    algorithm: str
    toolkit: str | None
    threshold: float
    level: int
    driver_faults: str
    everything: bool
    as_json: bool


def compare_models(model: str, other: str, how: dict[str, Any], choices: Choices) -> None:
    """Compare two models, of which one may be float; it is quantized like the other."""
    shown = common.console(choices.as_json)
    first, second = (common.load(name, **_fitting(name, how)) for name in (model, other))
    first, second = _prepared_alike(first, second, how), _prepared_alike(second, first, how)
    if not (is_in_a_format(first) or is_in_a_format(second)) and choices.dataset is None:
        raise ConfigError(
            "both models are float32",
            where=f"{model}, {other}",
            rule="stored parameters are compared",
            remedy="give one quantized model (an .rknn file), or --quantize and --dataset",
        )
    ready = [
        _quantized(one, two, choices, shown) for one, two in ((first, second), (second, first))
    ]
    parameters = compare_parameters(*ready)
    results, label = _run(ready, choices, shown)
    _print(shown, parameters, results, label, choices)
    if not parameters.equal or (results is not None and results.first_wrong is not None):
        raise typer.Exit(common.MISMATCH)


def _fitting(model: str, how: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a float model; a stored one has its own of all."""
    from npusim.importers.formats import is_stored

    return {} if is_stored(model) else how


def _prepared_alike(graph: Graph, other: Graph, how: dict[str, Any]) -> Graph:
    """Give a float model the other's preprocessing where no option names any."""
    given = any(how.get(word) is not None for word in ("mean", "std", "reorder", "fit"))
    if given or is_in_a_format(graph) or not is_in_a_format(other):
        return graph
    taken = {
        mine: other.preprocess[theirs]
        for mine, theirs in zip(graph.inputs, other.inputs, strict=False)
        if theirs in other.preprocess
    }
    return graph.copy(preprocess=taken, target=other.target)


def _quantized(graph: Graph, other: Graph, choices: Choices, shown: Console) -> Graph:
    if is_in_a_format(graph):
        return graph
    era = era_of(choices.toolkit) if choices.toolkit else era_of_file(other)
    if choices.dataset is None:
        if choices.scheme is not None or choices.algorithm != "normal":
            raise ConfigError(
                "--quantize and --algorithm need --dataset",
                rule="without a dataset formats and ranges of feature maps are the other model's",
                remedy="give --dataset, or leave them out",
            )
        return quantize_like(graph, other, era=era)
    scheme = choices.scheme or (
        scheme_of_maps(other).dtype.value if is_in_a_format(other) else "u8"
    )
    return common.quantized(
        graph,
        scheme,
        choices.dataset,
        shown=shown,
        algorithm=choices.algorithm,
        optimization_level=choices.level,
        toolkit=era.toolkit,
    )


def _run(ready: list[Graph], choices: Choices, shown: Console) -> tuple[Comparison | None, str]:
    """Run a sample through both, if there is one."""
    if not choices.inputs and choices.dataset is None:
        return None, ""
    label, feeds = common.sample_of(ready[0], choices.inputs, choices.dataset)
    recordings = []
    for graph in ready:
        program = common.compiled(
            graph, level=choices.level, shown=shown, driver_faults=choices.driver_faults
        )
        own = dict(zip(graph.inputs, (feeds[name] for name in ready[0].inputs), strict=True))
        recordings.append(npusim.record_program(program, own, preprocessed=True, label=graph.name))
    second = as_seen_by(recordings[1], *ready)
    second = replace(second, fed=recordings[0].fed)
    return npusim.compare(recordings[0], second, threshold=choices.threshold), label


def _print(
    shown: Console,
    parameters: ParameterComparison,
    results: Comparison | None,
    label: str,
    choices: Choices,
) -> None:
    if choices.as_json:
        found = None if results is None else results.to_dict()
        facts = {"parameters": parameters.to_dict(), "sample": label, "results": found}
        common.print_json(common.finite(facts))
        return
    table = parameter_table(parameters, everything=choices.everything)
    if table.row_count:
        shown.print(table)
    for line in parameter_verdict(parameters):
        shown.print(line, highlight=False)
    if results is None:
        shown.print("No results were compared: give --input or --dataset.", highlight=False)
        return
    title = f"results of {results.actual} against {results.reference} on {label}"
    shown.print(comparison_table(results, title=title))
    shown.print(verdict(results))

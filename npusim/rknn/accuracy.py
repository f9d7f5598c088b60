"""``RKNN.accuracy_analysis``: float against quantized, layer by layer."""

import logging
from functools import partial
from pathlib import Path
from typing import Any

from npusim.analysis.analyze import Analysis, analyze, require_float_source
from npusim.analysis.snapshot import check_file_type, write_snapshot
from npusim.api.overwriting import refuse_unwritable
from npusim.api.report_run import analysed
from npusim.errors import ConfigError, DatasetError
from npusim.ir.graph import Graph
from npusim.passes.pipeline import optimize
from npusim.quantization.dataset import load_sample, open_dataset
from npusim.reading.files import is_path, read_text
from npusim.report.analysis_table import CSV_NAME, analysis_verdict, write_analysis
from npusim.rknn.html_page import HtmlPage
from npusim.rknn.log import Log
from npusim.rknn.state import named_files, source_of
from npusim.rknn.weight_report import draw_distributions
from npusim.runtime.program import Program

_messages = logging.getLogger("npusim")


def accuracy_analysis(
    source: Graph | None,
    built: Graph | None,
    log: Log,
    *,
    inputs: Any,
    output_dir: Any,
    errors: bool,
    on_npu: bool,
    file_type: Any,
    html: Any = None,
) -> Analysis:
    """Analyse a built model against its float source and write the vendor's tree.

    Parameters
    ----------
    source, built : Graph
        Float source model and what was built from it.
    inputs : path or list of path
        A dataset file, whose first sample is used, or the files of one sample.
    output_dir : path
    errors : bool
        False: no layer-by-layer run and no error files.
    on_npu : bool
        Write what a run on a board adds.
    file_type : str
        ``"tensor"`` or ``"npy"``.
    html : path, optional
        Also write a page to send.

    Raises
    ------
    ConfigError
        When there is no float source, nothing was built, or a parameter is wrong.
    DatasetError
        When there is no sample.
    """
    check_file_type(file_type)
    read = named_files("inputs", inputs) + (source_of(source) if source is not None else [])
    page = HtmlPage(html, log, read)
    if built is None:
        raise ConfigError(
            "there is no built model", rule="accuracy_analysis comes after build or hybrid step 1/2"
        )
    if source is None:
        raise ConfigError(
            "a model from load_rknn does not hold its float source",
            rule="accuracy_analysis needs a float source model",
            remedy="load the source model and build it again, or lay the file beside its source "
            "with 'npusim compare' on the command line, which takes both",
        )
    require_float_source(source)
    if not is_path(output_dir):
        raise ConfigError(f"output_dir {output_dir!r}", rule="the path of a folder")
    refuse_unwritable((), [("output_dir", Path(output_dir))])
    graph = source.copy(preprocess=built.preprocess, batch=1)
    label, feeds = one_sample(inputs, graph)
    draw_distributions(optimize(graph), [(label, feeds)], log)
    log.info(f"accuracy analysis of {len(built.nodes)} layers on {label}")
    program = Program(built.copy(batch=1))
    result = analyze(
        graph,
        program,
        feeds,
        sample=label,
        progress=lambda done, total, name: log.debug(f"layer {done} of {total}: {name}"),
    )
    folder = Path(output_dir)
    more = partial(write_analysis, result, folder) if errors else None
    removed = write_snapshot(
        result, graph, folder, file_type=file_type, errors=errors, on_npu=on_npu, more=more
    )
    if removed:
        log.warning(f"{removed} files of an earlier analysis in {folder} were replaced")
    page.write(lambda: analysed(graph, program, feeds, sample=label, analysis=result))
    if errors:
        log.info(f"{folder}: dumps and errors of all layers; {CSV_NAME} says what causes them")
        say = log.warning if result.first_wrong or result.bad else log.info
        for line in analysis_verdict(result).splitlines():
            say(line)
    return result


def one_sample(inputs: Any, graph: Graph) -> tuple[str, Any]:
    """Return (label, preprocessed feeds) of the one sample that ``inputs`` holds.

    Raises
    ------
    ConfigError
        When it is neither a path nor a list of paths.
    DatasetError
        When there is no sample.
    """
    if is_path(inputs):
        samples = open_dataset(Path(inputs), graph)
        text = read_text(Path(inputs), DatasetError)
        lines = sum(bool(line.strip()) for line in text.splitlines())
        if lines != 1:
            _messages.warning(
                f"accuracy_analysis: {inputs} has {lines} lines; the first sample is used, as the "
                "analysis looks at one"
            )
        return next(iter(samples))
    paths = list(inputs) if isinstance(inputs, list | tuple) else []
    if not paths or not all(map(is_path, paths)):
        raise ConfigError(f"inputs {inputs!r}", rule="a dataset file, or a list of paths")
    if len(paths) == 1 and str(paths[0]).lower().endswith(".txt"):
        return one_sample(paths[0], graph)
    return " ".join(Path(path).name for path in paths), load_sample(paths, graph)

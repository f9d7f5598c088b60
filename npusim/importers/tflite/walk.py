"""Through the operators of a function in order; what cannot be taken is collected."""

from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches

from npusim import words
from npusim.errors import (
    GraphError,
    ModelImportError,
    NpusimError,
    QuantizationError,
    UnsupportedOpError,
)
from npusim.importers.common.builder import FLOAT, MISFITS, UnsupportedForm, misfit
from npusim.importers.common.holes import leaving
from npusim.importers.tflite.context import TfliteContext, Waiting
from npusim.importers.tflite.file import Operator, Subgraph
from npusim.importers.tflite.layout import physical
from npusim.importers.tflite.ops_known import folds_whole_numbers
from npusim.importers.tflite.table import converter_of, convertible_ops
from npusim.ir.dtypes import DType
from npusim.ir.holes import Hole
from npusim.ir.quant import Quant

_WRONG = (GraphError, ModelImportError, QuantizationError, *MISFITS)
"""What a converter raises for an operator that contradicts itself."""
_REAL: Quant = FLOAT
_CUT = "cut the model before it and run the rest on the CPU"
ADVICE = {
    **dict.fromkeys(
        ("UNIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_RNN", "SVDF", "RNN"),
        "of the recurrent layers only LSTM is there: convert with unroll=True, or " + _CUT,
    ),
    **dict.fromkeys(("NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5", "TOPK_V2"), _CUT),
    "CUSTOM TFLite_Detection_PostProcess": _CUT,
}  # fmt: skip


def needed(graph: Subgraph, ends: Sequence[int]) -> list[Operator]:
    """Return the operators that the ends or the variables need, in order."""
    wanted = set(ends)
    kept = []
    for op in reversed(graph.operators):
        if op.type in ("ASSIGN_VARIABLE", "CALL_ONCE") or wanted.intersection(op.outputs):
            kept.append(op)
            wanted.update(op.inputs)
    return kept[::-1]


def visit(context: TfliteContext, operators: Sequence[Operator]) -> None:
    """Convert operators; findings are kept, and what they should give is stood in for.

    Raises
    ------
    ModelImportError
        For an operator that contradicts itself, when nothing was found before.
    """
    findings, where = context.whole.findings, context.builder.where
    for op in operators:
        name = context.labels[op.outputs[0]] if op.outputs else "no output"
        waits = bool(context.stand_ins.intersection(op.inputs))
        try:
            convert = converter_of(op.type)
            if convert is None:
                raise UnsupportedForm("no counterpart")
            if not folds_whole_numbers(op, context):
                convert(op, context)
            if waits:
                context.stand_ins.update(op.outputs)
        except UnsupportedForm as form:
            advice = form.advice or _advice(op.type)
            line = f"{op.type} version {op.version}, {form.reason}; {advice}: "
            findings.setdefault(line, []).append(repr(name))
            context.whole.holes.append(Hole(layer=name, op=op.type, why=form.reason))
            _stand_in(context, op)
        except Waiting:
            context.whole.unknown.append(name)
            _stand_in(context, op)
        except _WRONG as error:
            if not findings:
                raise _located(error, f"{where}: layer {name!r} ({op.type})", where) from None
            if not waits:
                line = f"{op.type} is wrong in itself, {str(error).splitlines()[0]}: "
                findings.setdefault(line, []).append(repr(name))
            _stand_in(context, op)


def refuse_findings(context: TfliteContext) -> None:
    """Raise UnsupportedOpError with all findings, if there are any."""
    findings = context.whole.findings
    if findings:
        count = sum(map(len, findings.values()))
        error = UnsupportedOpError(
            f"{count} unsupported operator{'s' if count > 1 else ''}:"
            + "".join(f"\n    {line}{', '.join(names)}" for line, names in findings.items()),
            where=context.builder.where,
            rule="every operator needs a counterpart on the chip; npusim ops lists them",
            remedy=f"rewrite them as advised, or end the model before them "
            f"({words.say('cut_both')})",
        )
        whole = context.whole
        raise leaving(error, context.builder, whole.holes, whole.unknown)


def _stand_in(context: TfliteContext, op: Operator) -> None:
    """Let what an operator should give be an input, so that what reads it is looked at too."""
    for index in op.outputs:
        context.stand_ins.add(index)
        shape = context.tensor(index).shape
        if index in context.names or min(shape, default=1) < 1:
            continue
        name = context.unused(f"{context.labels[index]}/stand_in")
        dtype, quant = DType.F32, _REAL
        with suppress(UnsupportedForm):  # of a type that npusim does not have
            dtype, quant = context.spec(index)
        context.builder.add_input(name, physical(shape), dtype, quant)
        context.names[index] = name


def _located(error: Exception, place: str, file: str) -> ModelImportError:
    """Return an error of one operator with its place; one inside of a function has it."""
    if isinstance(error, ModelImportError) and error.where.startswith(file):
        return error
    if isinstance(error, NpusimError):
        return ModelImportError(error.what, where=place, rule=error.rule, remedy=error.remedy)
    return ModelImportError(  # numpy on sizes that contradict each other
        misfit(error),
        where=place,
        remedy="the file is damaged; convert the model again",
    )


def _advice(word: str) -> str:
    if word in ADVICE:
        return ADVICE[word]
    if word.startswith("CUSTOM"):
        return "custom operators are not part of the format; " + _CUT
    if word in convertible_ops():
        return "use the operator's common form, or " + _CUT
    close = get_close_matches(word, convertible_ops(), n=1, cutoff=0.8)
    return f"the nearest supported one is {close[0]}" if close else _CUT

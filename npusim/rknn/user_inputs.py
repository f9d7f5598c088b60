"""The arguments of ``RKNN.inference`` -> feeds of a program."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.errors import InputError
from npusim.explain import see
from npusim.ir.graph import Graph
from npusim.quantization.input_text import array_text, input_text
from npusim.runtime.feeds import LAYOUTS, arrange, as_number_array

Array = NDArray[Any]
DATA_TYPES = ("uint8", "int8", "int16", "float16", "float32")
_MISPRINTS = {"ing16": "int16"}  # in every guide's list of data types


def parse_feeds(
    inputs: Any,
    graph: Graph,
    *,
    data_type: Any = None,
    data_format: Any = None,
    pass_through: Any = None,
    once: Callable[..., None],
) -> tuple[dict[str, Array], list[str]]:
    """Return (input name -> array in the graph's shape, names of pass-through inputs).

    Parameters
    ----------
    inputs : list of array
        One per model input, in order; a single array for a model with one input.
    graph : Graph
    data_type, data_format : str or list, optional
        Toolkit words, for all inputs or one per input.
    pass_through : list of 0 or 1, optional
    once : callable
        Says a text the first time only.

    Raises
    ------
    InputError
        Naming the input and the shapes, types or words that would fit.
    """
    arrays = _as_list(inputs, graph)
    types = _per_input("data_type", data_type, graph, tuple(DATA_TYPES))
    layouts = _per_input("data_format", data_format, graph, LAYOUTS)
    direct = _flags(pass_through, graph)
    feeds = {}
    for i, name in enumerate(graph.inputs):
        where = f"input {i} ({name!r})"
        array = as_number_array(arrays[i], where=where)
        layout = "nchw" if direct[i] else layouts[i] or "nhwc"
        taken_as = array_text(f"{array.dtype} array", graph.spec(name), layout=layout)
        if direct[i]:  # the model's own type and layout
            once(
                f"input {name!r}: {taken_as}; stored values of the model, as they are",
                level=logging.INFO,
            )
            feeds[name] = arrange(
                array, graph.spec(name), layout=layout, batch=graph.batch, where=where
            )
            continue
        feeds[name] = arrange(
            _converted(array, types[i], where, once),
            graph.spec(name),
            layout=layout,
            batch=graph.batch,
            where=where,
        )
        how = graph.preprocess.get(name)
        once(input_text(name, graph.spec(name), how, taken_as), level=logging.INFO)
    return feeds, [name for name, flag in zip(graph.inputs, direct, strict=True) if flag]


def _as_list(inputs: Any, graph: Graph) -> Sequence[Any]:
    count = len(graph.inputs)
    rule = f"a list with one array per input: {', '.join(graph.inputs)}"
    if isinstance(inputs, np.ndarray) and count == 1:
        return [inputs]
    if not isinstance(inputs, list | tuple):
        raise InputError(f"inputs is {type(inputs).__name__}", where="inputs", rule=rule)
    if len(inputs) != count:
        raise InputError(f"{len(inputs)} arrays for {count} inputs", where="inputs", rule=rule)
    return inputs


def _per_input(
    name: str, value: Any, graph: Graph, known: tuple[str, ...]
) -> list[str] | list[None]:
    count = len(graph.inputs)
    if value is None:
        return [None] * count
    values = list(value) if isinstance(value, list | tuple) else [value] * count
    if len(values) != count:
        raise InputError(
            f"{len(values)} values for {count} inputs",
            where=name,
            rule="one word, or one per input",
        )
    words = [str(word).strip().lower() for word in values]
    words = [_MISPRINTS.get(word, word) for word in words]
    for word in words:
        if word not in known:
            raise InputError(f"{word!r}", where=name, rule=f"one of {', '.join(known)}")
    return words


def _flags(value: Any, graph: Graph) -> list[bool]:
    if value is None:
        return [False] * len(graph.inputs)
    several = isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim)
    flags = list(value) if several else [value] * len(graph.inputs)
    numbers = int | float | np.number | np.bool_
    fits = all(isinstance(flag, numbers) and flag in (0, 1) for flag in flags)
    if len(flags) != len(graph.inputs) or not fits:
        raise InputError(
            f"{value!r}", where="inputs_pass_through", rule="0 or 1 for each input of the model"
        )
    return [bool(flag) for flag in flags]


def _converted(array: Array, data_type: str | None, where: str, once: Callable[..., None]) -> Array:
    if data_type is None:
        if array.dtype.kind == "f":
            once(
                f"{where}: the array holds {array.dtype} and data_type is not given; the values "
                "are used as they are. The toolkit's default is 'uint8': say data_type='float32' "
                f"{see('data-type-not-given')}"
            )
        return array
    wanted = np.dtype(data_type)
    if array.dtype == wanted:
        return array
    with np.errstate(invalid="ignore", over="ignore"):
        result = array.astype(wanted)
    if wanted.kind in "iu" and (result != array).any():
        raise InputError(
            f"the array holds {array.dtype} values that {data_type} cannot hold",
            where=where,
            rule=f"data_type='{data_type}' was given",
            remedy="give data_type='float32', or convert the array",
        )
    once(f"{where}: {array.dtype} converted to {data_type}", level=logging.INFO)
    return result


def fill_destinations(destinations: Any, found: list[NDArray[np.float32]]) -> list[Array]:
    """Copy results into the caller's arrays, which fix shape and type; return these."""
    if not isinstance(destinations, list | tuple) or len(destinations) != len(found):
        raise InputError("outputs does not fit", rule=f"a list of {len(found)} arrays")
    for i, (place, value) in enumerate(zip(destinations, found, strict=True)):
        if not isinstance(place, np.ndarray) or place.size != value.size:
            raise InputError(
                f"outputs[{i}] has not {value.size} elements",
                where=f"output {i}",
                rule=f"the model's output has shape {value.shape}",
            )
        place[...] = value.reshape(place.shape).astype(place.dtype)
    return list(destinations)

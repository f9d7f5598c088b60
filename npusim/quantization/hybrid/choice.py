"""Hybrid quantization: which layers have a number format of their own.

Users name layers as they see them in the source model, in dumps or in cfg files; the layers that
run may be fused from several of those. This module finds the one for the other.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

from npusim.errors import ConfigError
from npusim.ir.graph import Graph, Node
from npusim.ops import op_def
from npusim.passes.graph_view import GraphView
from npusim.plain import LONGEST_COMPARED
from npusim.quantization.schemes import Scheme, scheme_named

log = logging.getLogger("npusim")

MOST_SCHEMES = 2
FLOAT32_WORDS = ("float32", "fp32", "f32")
SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerName:
    """A name under which users know a layer that runs.

    Attributes
    ----------
    layer_id : str
        ``<name>_<id>`` as in the source model.
    node : str
        Name of the layer that runs.
    last : bool
        The layer's output is the output of the layer that runs.
    """

    layer_id: str
    node: str
    last: bool


def layer_names(graph: Graph, source: Graph | None = None) -> tuple[LayerName, ...]:
    """Return all layer ids by which layers of ``graph`` are known, in execution order.

    Parameters
    ----------
    graph : Graph
        After the float passes.
    source : Graph, optional
        The same model before them: its fused layers keep their own names.
    """
    known = {node.layer_id: LayerName(layer_id=node.layer_id, node=node.name, last=True)
             for node in graph.nodes}  # fmt: skip
    absorbed: dict[str, list[LayerName]] = {}
    if source is not None:
        by_origin: dict[str, list[Node]] = {}
        for node in graph.nodes:
            for name in node.origin:
                by_origin.setdefault(name, []).append(node)
        for node in source.nodes:
            if node.layer_id in known or not node.origin:
                continue
            owners = [
                owner
                for owner in by_origin.get(node.origin[0], ())
                if set(node.origin) <= set(owner.origin)
            ]
            if owners:
                entry = LayerName(layer_id=node.layer_id, node=owners[0].name, last=False)
                absorbed.setdefault(owners[0].name, []).append(entry)
    found: list[LayerName] = []
    for node in graph.nodes:
        found += [*absorbed.get(node.name, ()), known[node.layer_id]]
    return tuple(found)


def layer_scheme(word: str) -> Scheme:
    """Return the scheme of a cfg word; ``float32`` means float16, the chip's only float type."""
    return Scheme.F16 if word.strip().lower() in FLOAT32_WORDS else scheme_named(word)


def resolve_layers(
    wanted: Mapping[str, Scheme],
    graph: Graph,
    source: Graph | None = None,
    *,
    default: Scheme,
) -> dict[str, Scheme]:
    """Return layer name of ``graph`` -> scheme for layers named in any way.

    A rectifier that alone reads a listed convolution goes with it, unless it is listed itself. A
    layer that became several with weights (a split transposed convolution) means all of them.

    Parameters
    ----------
    wanted : mapping
        Layer id (``<name>_<id>``), layer name, or a pattern of either with ``*``, ``?`` or ``[..]``
        -> scheme. A layer named outright does not follow patterns, a later pattern wins.
    graph, source : Graph
        See ``layer_names``.
    default : Scheme
        Of all other layers.

    Raises
    ------
    ConfigError
        When a layer is unknown (close matches are listed), one layer is given two schemes under
        two names, or the model gets more than two schemes.
    """
    by_name: dict[str, str] = {}
    for entry in layer_names(graph, source):
        by_name.setdefault(entry.layer_id, entry.node)
    for node in graph.nodes:
        by_name.setdefault(node.name, node.name)
    if source is not None:
        ids = {node.name: node.layer_id for node in source.nodes}
        by_name = {**{n: by_name[i] for n, i in ids.items() if i in by_name}, **by_name}
    wanted = _spelled_out(wanted, by_name)
    unknown = [name for name in wanted if name not in by_name]
    if unknown:
        raise ConfigError(
            "; ".join(_unknown(name, by_name) for name in unknown[:SHOWN])
            + (f"; and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""),
            rule="layers are named <name>_<id>, as in the cfg file and in dumps",
        )
    found: dict[str, Scheme] = {}
    said: dict[str, str] = {}
    parts = _parts(graph, source)
    for name, scheme in wanted.items():
        for node_name in dict.fromkeys((by_name[name], *parts.get(name, ()))):
            if found.get(node_name, scheme) is not scheme:
                raise ConfigError(
                    f"{said[node_name]!r} and {name!r} are one layer on the chip and have the "
                    f"schemes {found[node_name].value} and {scheme.value}",
                    rule="fused layers have one scheme",
                    remedy="give both the same, or list one of them",
                )
            found[node_name], said[node_name] = scheme, name
    check_schemes({default, *found.values()})
    return _with_followers(graph, found)


def _spelled_out(wanted: Mapping[str, Scheme], by_name: Mapping[str, str]) -> dict[str, Scheme]:
    """Return the choice with patterns replaced by the layers that fit; others stay as they are."""
    exact = {name: scheme for name, scheme in wanted.items() if not _is_pattern(name, by_name)}
    taken = {by_name[name] for name in exact if name in by_name}
    chosen: dict[str, Scheme] = {}  # by layer, so that a later pattern wins
    names: dict[str, str] = {}
    for pattern, scheme in wanted.items():
        if pattern in exact:
            continue
        found = {name: node for name, node in by_name.items() if fnmatchcase(name, pattern)}
        if not found:
            raise ConfigError(
                f"no layer is called like {pattern!r}",
                rule="* stands for any characters, ? for one; layers are named <name>_<id>",
            )
        names |= {name: node for name, node in found.items() if node not in taken}
        chosen |= dict.fromkeys(found.values(), scheme)
    return {name: chosen[node] for name, node in names.items()} | exact


def _is_pattern(name: str, by_name: Mapping[str, str]) -> bool:
    return name not in by_name and any(mark in name for mark in "*?[")


def _parts(graph: Graph, source: Graph | None) -> dict[str, list[str]]:
    """Return names of source layers with weights -> the layers with weights they became."""
    by_origin: dict[str, list[Node]] = {}
    for node in graph.nodes:
        if op_def(node.op).weighted:
            for origin in node.origin:
                by_origin.setdefault(origin, []).append(node)
    found = {}
    for node in () if source is None else source.nodes:
        if op_def(node.op).weighted and node.origin:
            owners = by_origin.get(node.origin[0], ())
            names = [owner.name for owner in owners if set(node.origin) <= set(owner.origin)]
            found[node.name] = found[node.layer_id] = names
    return found


def check_schemes(schemes: set[Scheme]) -> None:
    """Refuse more than two schemes in one model.

    Source: user guide 1.7.3, hybrid quantization: at most two different types.
    """
    if len(schemes) > MOST_SCHEMES:
        names = ", ".join(sorted(scheme.value for scheme in schemes))
        raise ConfigError(
            f"{len(schemes)} number formats in one model: {names}",
            rule=f"at most {MOST_SCHEMES}",
            remedy="use one format besides the default",
        )


def _unknown(name: str, known: Sequence[str] | Mapping[str, str]) -> str:
    short = [other for other in known if max(len(name), len(other)) <= LONGEST_COMPARED]
    close = get_close_matches(name, short, n=3)
    return f"no layer is called {name!r}" + (f" (close: {', '.join(close)})" if close else "")


def carriers(graph: Graph) -> dict[str, str]:
    """Return rectifier -> the layer before it whose results only the rectifier reads."""
    view = GraphView(graph)
    found = {}
    for node in graph.nodes:
        if op_def(node.op).rectifier and view.is_private(node.inputs[0]):
            before = view.producers.get(node.inputs[0])
            if before is not None and op_def(before.op).accumulates:
                found[node.name] = before.name
    return found


def _with_followers(graph: Graph, found: dict[str, Scheme]) -> dict[str, Scheme]:
    behind = {name: found[of] for name, of in carriers(graph).items() if of in found}
    return {**behind, **found}

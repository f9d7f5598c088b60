"""A network bound to kernels, ready to run."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.errors import ConfigError, InputError
from npusim.faces import Face, Faced
from npusim.host.runner import network_results
from npusim.ir.graph import Graph, Node, Preprocess
from npusim.ir.quant import Quant
from npusim.runtime.binding import bind
from npusim.runtime.bindings import load_bindings
from npusim.runtime.driver_memory import (
    CORRECT,
    REPRODUCE,
    DriverMemory,
    checked_choice,
    driver_memory,
)
from npusim.runtime.ends import codes_from, codes_in_doubt
from npusim.runtime.parts import (
    BoundNode,
    Ends,
    Part,
    forget,
    images_together,
    in_parts,
    run_part,
    run_step,
)
from npusim.runtime.real_codes import dequantize, stored
from npusim.runtime.threads import own_processors

log = logging.getLogger("npusim")

Array = NDArray[Any]
# (node, output tensor name, stored value) for every executed layer output, in execution order
Observe = Callable[[Node, str, Array], None]


class Program(Faced):
    """A lowered graph with prepared kernels. Thread safe: a run keeps no state.

    Parameters
    ----------
    graph : Graph
        Lowered graph (``npusim.compile`` makes one): every node has an engine.
    progress : callable, optional
        Called with (done, total, layer name) while layers are prepared.
    driver_faults : {"correct", "reproduce"}
        Where the chip's driver loses data in a concat: compute the true values, or what the chip
        stores as far as that is no chance (``npusim explain concat-of-views``).

    Attributes
    ----------
    graph : Graph
    driver_faults : str
    unknown : dict
        Tensor -> bool array in its shape, true where the chip never writes and 0 stands instead;
        empty unless driver faults are reproduced. What follows from such an element is not marked.

    Raises
    ------
    ConfigError
        When ``driver_faults`` is another word.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        progress: Callable[[int, int, str], None] | None = None,
        driver_faults: str = CORRECT,
    ) -> None:
        if not isinstance(graph, Graph):
            raise ConfigError(
                f"{type(graph).__name__} given",
                where="graph of Program",
                rule="a lowered Graph",
                remedy="npusim.compile makes a Program of a quantized graph",
            )
        load_bindings()
        self.graph = graph
        self._said: set[str] = set()
        self.driver_faults = checked_choice(driver_faults)
        memory = driver_memory(graph) if driver_faults == REPRODUCE else DriverMemory()
        self.unknown = memory.unknown
        feeds = {
            node.name: memory.layers[node.name].feeds
            if node.name in memory.layers
            else graph.activations(node)
            for node in graph.nodes
        }
        last_use = {name: i for i, node in enumerate(graph.nodes) for name in feeds[node.name]}
        kept = set(graph.outputs)
        self._nodes: list[BoundNode] = []
        for i, node in enumerate(graph.nodes):
            if progress:
                progress(i, len(graph.nodes), node.name)
            own = feeds[node.name]
            names = dict.fromkeys((*node.inputs, *own, *node.outputs))
            dead = tuple(n for n in names if last_use.get(n, i) == i and n not in kept)
            fault = memory.layers.get(node.name)
            step = fault.step if fault else bind(node, graph)
            self._nodes.append(BoundNode(node, step, own, node.outputs, dead))
        self._parts = in_parts(self._nodes, graph.inputs, kept)
        self._ends: dict[int, Ends] = {}
        self._together = images_together(graph)

    def __reduce__(self) -> tuple[Any, ...]:
        """Let a copy, in another process too, bind the graph again."""
        return partial(Program, driver_faults=self.driver_faults), (self.graph,)

    def _face(self) -> Face:
        """Return the graph's face: a program is it, bound to kernels."""
        face = self.graph._face()
        return face._replace(facts={**face.facts, "driver faults": self.driver_faults})

    def _warn_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            log.warning("%s", text)

    @property
    def layers(self) -> tuple[BoundNode, ...]:
        """Return the layers with their steps, in execution order, to run them one by one."""
        return tuple(self._nodes)

    def run(
        self,
        feeds: Mapping[str, Array],
        *,
        pass_through: Iterable[str] = (),
        preprocessed: bool = False,
        observe: Observe | None = None,
    ) -> dict[str, NDArray[np.float32]]:
        """Run the network on real data.

        Parameters
        ----------
        feeds : mapping
            One array per input, by name, in the input's shape (batch axis multiplied by
            ``graph.batch``). Values are raw (pixels): reorder, mean, std and quantization are
            applied here. Integers are numbers like others, no codes; a warning says so where the
            source model declares codes (see ``run_codes``).
        pass_through : iterable of str
            Inputs whose arrays already hold the stored type.
        preprocessed : bool
            Feeds are real values after reorder, mean and std (calibration samples are).
        observe : callable, optional
            Called with (node, tensor name, stored value) for every layer output.

        Returns
        -------
        dict
            Result name -> float32 array (dequantized, or what a host layer makes of such arrays).

        Raises
        ------
        InputError
            When an input is missing, unknown or of a wrong shape or type.
        """
        if isinstance(pass_through, str) or not isinstance(pass_through, Iterable):
            raise InputError(
                f"{pass_through!r}",
                where="pass_through",
                rule="names of inputs",
                remedy=f"for example {list(self.graph.inputs)!r}",
            )
        direct = set(pass_through)
        checked = self._checked(feeds)
        if not direct and observe is None and self.graph.tail is None:
            return self._run_reals(
                {name: self._real_input(name, v, preprocessed) for name, v in checked.items()}
            )
        results = self._run_batch(
            {
                name: self._by_sample(
                    name,
                    self._passed(name, value)
                    if name in direct
                    else stored(self._real_input(name, value, preprocessed), self.graph.spec(name)),
                )
                for name, value in checked.items()
            },
            observe,
        )
        if self.graph.tail is not None:
            return self._with_tail(results, feeds)
        return {name: self._joined(name, parts, dequantize) for name, parts in results.items()}

    def _run_reals(self, reals: Mapping[str, Array]) -> dict[str, NDArray[np.float32]]:
        """Run on real inputs, of which kernels make codes in the tapes where there are any."""
        graph = self.graph
        parts: dict[str, list[Array]] = {name: [] for name in graph.outputs}
        feeds: dict[str, list[Array]] = {}
        for begin in range(0, graph.batch, self._together):
            ends = self._ends_of(min(self._together, graph.batch - begin))
            feeds = feeds or {
                name: self._by_sample(
                    name, value if name in ends.inputs else stored(value, graph.spec(name))
                )
                for name, value in reals.items()
            }
            images = range(ends.images)
            given = {ends.given(n, i): v[begin + i] for n, v in feeds.items() for i in images}
            values = self._run_parts(ends.parts, given)
            for name, found in parts.items():
                constant = graph.constants.get(name)
                found += [
                    values[ends.result(name, i)] if constant is None else constant for i in images
                ]
        return {
            name: self._joined(name, found, _as_it_is if name in ends.outputs else dequantize)
            for name, found in parts.items()
        }

    def _ends_of(self, images: int) -> Ends:
        """Return the layers of so many images with their ends, kept for the next run."""
        found = self._ends.get(images)
        if found is None:
            found = self._ends[images] = Ends(self.graph, self._nodes, images)
        return found

    def run_codes(
        self, feeds: Mapping[str, Array], *, observe: Observe | None = None
    ) -> dict[str, Array]:
        """Run the network on codes, as ONNX Runtime and LiteRT run a quantized model.

        Parameters
        ----------
        feeds : mapping
            One array per input, by name, in the input's shape (batch axis multiplied by
            ``graph.batch``; feature maps N, C, H, W). Inputs that are stored as integers take codes
            of any integer type that hold their range; float inputs take real numbers. Neither
            reorder nor mean nor std is applied.
        observe : callable, optional
            As in ``run``.

        Returns
        -------
        dict
            Output name -> codes in the stored integer type, or float32. Where host layers stand
            behind the outputs: what ``run`` gives.

        Raises
        ------
        InputError
            When an input is missing, unknown, of a wrong shape, or no codes of its type.
        """
        taken = {}
        for name, value in self._checked(feeds).items():
            spec = self.graph.spec(name)
            coded = not spec.dtype.is_float
            taken[name] = self._by_sample(
                name,
                self._passed(name, codes_from(value, spec))
                if coded
                else stored(self._real_input(name, value, preprocessed=True), spec),
            )
        results = self._run_batch(taken, observe)
        if self.graph.tail is not None:
            return {**self._with_tail(results, feeds)}
        return {
            name: self._joined(name, parts, _as_it_is)
            if not self.graph.spec(name).dtype.is_float
            else self._joined(name, parts, dequantize)
            for name, parts in results.items()
        }

    def _run_batch(
        self, stored: Mapping[str, list[Array]], observe: Observe | None
    ) -> dict[str, list[Array]]:
        """Return the stored results of every sample, by output."""
        batches = [
            self.run_stored({n: v[i] for n, v in stored.items()}, observe=observe)
            for i in range(self.graph.batch)
        ]
        return {name: [batch[name] for batch in batches] for name in self.graph.outputs}

    def _with_tail(
        self, outputs: Mapping[str, list[Array]], inputs: Mapping[str, Array]
    ) -> dict[str, NDArray[np.float32]]:
        """Return what host layers make of the outputs, sample by sample."""
        quants = {name: self.graph.spec(name).quant for name in outputs}
        made = []
        for i in range(self.graph.batch):
            real = {name: dequantize(parts[i], quants[name]) for name, parts in outputs.items()}
            made.append(network_results(self.graph, real, inputs))
        return {
            name: np.concatenate([np.atleast_1d(one[name]) for one in made]).astype(np.float32)
            if len(made) > 1
            else made[0][name].astype(np.float32, copy=False)
            for name in self.graph.results
        }

    def _joined(
        self, name: str, parts: list[Array], reading: Callable[[Array, Quant], Array]
    ) -> Array:
        """Return the results of a batch as one array; without a batch axis they get one."""
        quant = self.graph.spec(name).quant
        values = [reading(part, quant) for part in parts]
        if len(values) == 1:
            return values[0]
        return np.concatenate([np.atleast_1d(value) for value in values])

    def run_stored(
        self, feeds: Mapping[str, Array], *, observe: Observe | None = None
    ) -> dict[str, Array]:
        """Run one sample on stored (quantized) inputs and return stored outputs.

        Raises
        ------
        InputError
            When an input is missing, or not of its shape and stored type: kernels do not look.
        """
        for name in self.graph.inputs:
            spec, value = self.graph.tensors[name], feeds.get(name)
            if value is None or value.shape != spec.shape or value.dtype != spec.dtype.numpy:
                given = "missing" if value is None else f"{value.dtype}{value.shape}"
                raise InputError(
                    f"it is {given}",
                    where=f"input {name!r}",
                    rule=f"{spec.dtype.numpy}{spec.shape}, as stored",
                )
        if observe is None:
            values = self._run_parts(self._parts, feeds)
        else:
            values = self._with_constants(feeds)
            for bound in self._nodes:
                run_step(bound, values)
                for name in bound.outputs:
                    observe(bound.node, name, values[name])
                forget(bound.dead, values)
        return {name: values[name] for name in self.graph.outputs}

    def _with_constants(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Return feeds, and outputs that are constants."""
        constants = self.graph.constants
        return {**feeds, **{n: constants[n] for n in self.graph.outputs if n in constants}}

    def _run_parts(self, parts: Sequence[Part], feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Return what is left when all layers have run."""
        values = self._with_constants(feeds)
        with own_processors():
            for part in parts:
                run_part(part, values)
        return values

    def _checked(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        inputs = self.graph.inputs
        if not isinstance(feeds, Mapping) or feeds.keys() != set(inputs):
            raise self._other_inputs(feeds)
        return {name: np.asarray(feeds[name]) for name in inputs}

    def _other_inputs(self, feeds: object) -> InputError:
        """Return why feeds are not those of the inputs."""
        example = ", ".join(f"{name!r}: array" for name in self.graph.inputs)
        if not isinstance(feeds, Mapping):
            return InputError(
                f"feeds is {type(feeds).__name__}",
                where=self.graph.name,
                rule="arrays by input name",
                remedy=f"give {{{example}}}",
            )
        unknown = sorted(set(feeds) - set(self.graph.inputs), key=str)
        missing = sorted(set(self.graph.inputs) - set(feeds))
        return InputError(
            f"inputs missing: {missing or 'none'}; not in the model: {unknown or 'none'}",
            where=self.graph.name,
            rule=f"the inputs are {', '.join(self.graph.inputs)}",
            remedy=f"give {{{example}}}",
        )

    def _fitting(self, name: str, value: Array) -> Array:
        """Return an array for an input, checked for kind and shape."""
        spec, batch = self.graph.spec(name), self.graph.batch
        shape = (spec.shape[0] * batch, *spec.shape[1:]) if spec.shape else spec.shape
        if value.dtype.kind not in "buif":
            raise InputError(
                f"data of type {value.dtype}",
                where=f"input {name!r}",
                rule="integers or floating point numbers",
                remedy="give an array; npusim.read_input(graph, path) reads a file",
            )
        if value.shape != shape:
            raise InputError(
                f"array of shape {value.shape}",
                where=f"input {name!r}",
                rule=f"shape {shape}" + (f" (batch {batch} x {spec.shape})" if batch > 1 else ""),
                remedy="N, C, H, W for images: transpose or resize the data",
            )
        return value

    def _passed(self, name: str, value: Array) -> Array:
        """Return an array that holds the stored type of an input."""
        spec = self.graph.spec(name)
        if self._fitting(name, value).dtype != spec.dtype.numpy:
            raise InputError(
                f"pass-through array of type {value.dtype}",
                where=f"input {name!r}",
                rule=f"a pass-through input must already be {spec.dtype.numpy}",
            )
        return value

    def _real_input(self, name: str, value: Array, preprocessed: bool) -> NDArray[np.float32]:
        """Return an array for an input as real numbers after reorder, mean and std."""
        how = None if preprocessed else self.graph.preprocess.get(name)
        if doubt := codes_in_doubt(self.graph, name, self._fitting(name, value), how):
            self._warn_once(doubt)
        return preprocess(value, how, where=f"input {name!r}")

    def _by_sample(self, name: str, value: Array) -> list[Array]:
        """Return one array per sample of the batch."""
        spec, batch = self.graph.spec(name), self.graph.batch
        if batch == 1 or not spec.shape:  # what has no axes is the same for all samples
            return [value] * batch
        return [part.reshape(spec.shape) for part in np.split(value, batch)]


def _as_it_is(value: Array, _: Quant) -> Array:
    return value


def preprocess(
    value: Array, how: Preprocess | None, *, where: str = "input"
) -> NDArray[np.float32]:
    """Return reorder -> subtract mean -> divide by std on (N, C, ..) data, in float32.

    Raises
    ------
    InputError
        When the data is not numeric or has no such channels.
    """
    if value.dtype.kind not in "buif":
        raise InputError(
            f"data of type {value.dtype}", where=where, rule="integers or floating point numbers"
        )
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused later
        return _prepared(value.astype(np.float32, copy=False), how, where)


def _prepared(real: NDArray[np.float32], how: Preprocess | None, where: str) -> NDArray[np.float32]:
    if how is None:
        return real
    channels = real.shape[1] if real.ndim > 1 else 0
    if how.reorder:
        if channels != len(how.reorder):
            raise InputError(
                f"{channels} channels", where=where, rule=f"reorder {how.reorder} needs three"
            )
        real = real[:, list(how.reorder)]
    column = (1, -1, *(1,) * (real.ndim - 2))
    for numbers, apply in ((how.mean, np.subtract), (how.std, np.divide)):
        if not numbers:
            continue
        if len(numbers) not in (1, channels):
            raise InputError(
                f"{channels} channels",
                where=where,
                rule=f"{len(numbers)} mean/std values were configured for it",
            )
        real = apply(real, np.asarray(numbers, np.float32).reshape(column))
    return real

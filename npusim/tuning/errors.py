"""How much noise each layer adds by itself, measured layer by layer on float inputs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.analysis.individual import run_individually
from npusim.ir.codes import dequantize
from npusim.ir.graph import Graph
from npusim.reference.float_engine import FloatEngine
from npusim.runtime.program import Program

Feeds = Mapping[str, NDArray[Any]]


def layer_noise(
    program: Program, engine: FloatEngine, samples: Sequence[Feeds]
) -> dict[str, float]:
    """Return layer name -> noise energy over signal energy of its outputs, over all samples.

    Parameters
    ----------
    program : Program
        The quantized network.
    engine : FloatEngine
        Of the float graph it was made of.
    samples : sequence of feeds
        Preprocessed.
    """
    signal: dict[str, float] = {}
    noise: dict[str, float] = {}
    for feeds in samples:
        values: dict[str, NDArray[Any]] = {}
        engine.run(feeds, observe=values.__setitem__)
        for run in run_individually(program, values):
            for name, stored in zip(run.node.outputs, run.outputs, strict=True):
                if name not in values or not np.issubdtype(values[name].dtype, np.floating):
                    continue
                exact = values[name].astype(np.float64)
                gap = dequantize(stored, program.graph.spec(name).quant) - exact
                key = run.node.name
                signal[key] = signal.get(key, 0.0) + float(np.square(exact).sum())
                noise[key] = noise.get(key, 0.0) + float(np.square(gap).sum())
    return {name: noise[name] / signal[name] if signal[name] else 0.0 for name in noise}


def worst_layers(noise: Mapping[str, float], graph: Graph, *, share: float = 0.5) -> list[str]:
    """Return the noisiest layers that together make ``share`` of all noise, noisiest first."""
    known = {node.name for node in graph.nodes}
    order = sorted((n for n in noise if n in known), key=lambda n: -noise[n])
    total, found, so_far = sum(noise[n] for n in order), [], 0.0
    for name in order:
        if so_far >= share * total:
            break
        found.append(name)
        so_far += noise[name]
    return found

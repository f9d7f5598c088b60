"""From what ``npusim perf`` was given to an estimate."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import npusim
from npusim import assets
from npusim.api.pricing import LAYER_LIST, is_layer_list, layer_list
from npusim.cli import common
from npusim.errors import ConfigError
from npusim.ir.atomic import atomic_write
from npusim.ir.graph import Graph
from npusim.ir.holes import Rest
from npusim.perfmodel.estimate import Estimate
from npusim.perfmodel.machine import Machine
from npusim.plain import name_of

BUNDLED_LIST = "demo-layers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One configuration to price; None leaves the choice to the model or the chip."""

    model: str
    target: str | Machine | None = None
    profile: str = "board"
    dtype: str | None = None
    clock_mhz: float | None = None
    ddr_gbps: float | None = None
    batch: int | None = None
    sram: str = "auto"
    weights: Path | None = None
    shape: list[str] | None = None
    level: int = 3
    part: common.Cuts | None = None


def price(request: Request) -> Estimate:
    """Return the estimate of a configuration.

    Raises
    ------
    NpusimError
        When the model cannot be read or an option does not fit it.
    """
    if is_list(request.model):
        return _priced(list_of(request), request)
    return _priced(model_of(request), request)


def list_of(request: Request) -> Path:
    """Return the layer list of a configuration.

    Raises
    ------
    ConfigError
        For options that only models have: a list has its shapes, and no weights.
    """
    given = {
        "--weights": request.weights,
        "--cut-inputs or --cut-outputs": request.part,
        "--shape": request.shape,
    }
    if useless := [option for option, value in given.items() if value]:
        raise ConfigError(
            f"{' and '.join(useless)} would have no effect",
            where=request.model,
            rule="a layer list is priced as it is written",
            remedy="leave the option out; --sweep input=.. prices a list for other inputs",
        )
    return assets.layer_list_path() if request.model == BUNDLED_LIST else Path(request.model)


def price_around(rest: Rest, request: Request) -> Estimate:
    """Return the estimate of what a model with holes has beside them."""
    return _priced(rest.graph.copy(name=name_of(Path(request.model))), request)


def _priced(source: Graph | Path, request: Request) -> Estimate:
    return npusim.estimate(
        source,
        target=request.target,
        scheme=request.dtype,
        profile=request.profile,
        clock_mhz=request.clock_mhz,
        ddr_gbps=request.ddr_gbps,
        batch=request.batch,
        sram=switch(request.sram),
        optimization_level=request.level,
    )


def model_of(request: Request) -> Graph:
    """Return the loaded model of a configuration, called as its file."""
    graph = common.load(
        request.model,
        weights=request.weights,
        part=request.part,
        shape=request.shape,
        known=[BUNDLED_LIST],
    )
    # exporters call all their graphs the same; of stored models as well
    return graph.copy(name=name_of(Path(request.model)))


def write_list(request: Request, path: Path) -> Path:
    """Write the model of a configuration as a layer list; return the path.

    Raises
    ------
    ConfigError
        When the model is a layer list already, came quantized, or the file cannot be written.
    """
    if is_list(request.model):
        raise ConfigError(
            f"{request.model} is a layer list already", where="--write-layers", rule="a model"
        )
    listed = layer_list(
        model_of(request), scheme=request.dtype or "u8", optimization_level=request.level
    )
    write_json(listed, path)
    return path


def write_json(listed: dict[str, Any], path: Path) -> None:
    """Write a layer list.

    Raises
    ------
    ConfigError
        When the file cannot be written, or would not be known as a list when it is read.
    """
    if path.suffix.lower() != LAYER_LIST:
        raise ConfigError(
            f"a layer list called {path.name!r}",
            where="--write-layers",
            rule=f"the names of layer lists end in {LAYER_LIST}",
            remedy=f"call it {path.stem}{LAYER_LIST}",
        )
    try:
        with atomic_write(path) as file:
            file.write(json.dumps(listed, indent=1).encode())
    except OSError as error:
        raise ConfigError(
            f"cannot be written: {error.strerror}", where=str(path), remedy="check the folder"
        ) from error


def switch(text: str) -> bool | None:
    """Return what on, off and auto mean; ConfigError for another word."""
    switches = {"auto": None, "on": True, "off": False}
    if text not in switches:
        raise ConfigError(f"value {text!r}", where="--sram", rule="auto, on or off")
    return switches[text]


def is_list(model: str) -> bool:
    """Tell whether a model argument names a layer list."""
    return model == BUNDLED_LIST or is_layer_list(Path(model))

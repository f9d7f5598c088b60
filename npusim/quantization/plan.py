"""Every choice of a quantization in one record: doors translate their words into it."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from npusim import words
from npusim.errors import ConfigError
from npusim.quantization.algorithms import Algorithm
from npusim.quantization.equalize import Relu6
from npusim.quantization.eras import DEFAULT_ERA, Era
from npusim.quantization.schemes import Range, Scheme

Feeds = Mapping[str, NDArray[Any]]
Samples = Iterable[tuple[str, Feeds]]
_LIST = "give a text file with one image or npy per line"


def unused_without_calibration(
    algorithm: str, toolkit: Era = DEFAULT_ERA, no_join: Collection[str] = ()
) -> str | None:
    """Return a warning that names the choices which a model without calibration cannot follow."""
    given = {
        "algorithm": algorithm != Algorithm().name,
        "toolkit_name": toolkit != DEFAULT_ERA,
        "no_join_name": bool(no_join),
    }
    names = [words.say(key) for key, changed in given.items() if changed]
    if not names:
        return None
    return (
        f"{', '.join(names)} given, but nothing is calibrated: the model is computed as without, "
        f"in float16 or with its own parameters. Quantize a float model for it: "
        f"{words.say('quantize_here')}"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Ranges that an earlier calibration found, joined where tensors share one, and its notes."""

    ranges: Mapping[str, Range]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do to a float graph; ``npusim.quantization.job.execute`` does it.

    Attributes
    ----------
    scheme : Scheme
        Format of the whole network.
    layers : mapping
        Layer name or layer id -> its own scheme (hybrid quantization).
    dataset : path, samples or None
        A dataset file, or (label, feeds) with preprocessed float32 samples. None: nothing is
        calibrated, all ranges come from ``measured`` or else from ``cfg``.
    measured : Measured or None
        Ranges of an earlier calibration, used instead of a new one.
    sample_limit : int or None
        Most samples of a dataset file that are used.
    algorithm : Algorithm
        Calibration statistic.
    cfg : Path or None
        An edited quantization.cfg: formats of layers and ranges; it does not go with ``layers``.
    write_cfg : Path or None
        Where a quantization.cfg to edit is written.
    equalize : Relu6 or None
        Equalize weights across layers, and what that does with relu6.
    bias_correction : bool
        Correct biases for the mean error of the weights.
    engine : str
        Float engine of the calibration: auto, onnxruntime or npusim.
    level : int
        Optimization level, 0..3.
    toolkit : Era
        Release whose rules for ranges and lowering count.
    no_join : tuple of str
        Concats (name or layer id) whose parts keep ranges of their own.
    avoid_driver_faults : bool
        Give concats that the chip's driver would get wrong parameters with which it copies.
    """

    scheme: Scheme = Scheme.U8
    layers: Mapping[str, Scheme] = field(default_factory=dict)
    dataset: str | Path | Samples | None = None
    measured: Measured | None = None
    sample_limit: int | None = None
    algorithm: Algorithm = field(default_factory=Algorithm)
    cfg: Path | None = None
    write_cfg: Path | None = None
    equalize: Relu6 | None = None
    bias_correction: bool = False
    engine: str = "auto"
    level: int = 3
    toolkit: Era = DEFAULT_ERA
    no_join: tuple[str, ...] = ()
    avoid_driver_faults: bool = False

    def __post_init__(self) -> None:
        if self.cfg is not None and self.layers:
            raise ConfigError(
                "layers and a cfg file are given",
                rule="the cfg file says the format of every layer",
            )
        known = self.measured is not None or (self.dataset is None and self.cfg is not None)
        if self.is_float16 and (self.cfg or self.write_cfg or self.changes_weights):
            raise ConfigError(
                "a float16 model has nothing to calibrate",
                rule="cfg files, equalization and bias correction go with u8, i8, i16",
            )
        if self.is_float16 and self.avoid_driver_faults:
            raise ConfigError(
                "float16 has no parameters that could be changed",
                where=words.say("avoid_driver_faults"),
                remedy="make one part of the concat an output of the network, or use u8, i8 or i16",
            )
        if known and self.changes_weights:
            raise ConfigError(
                "equalization and bias correction need calibration data",
                where=words.say("dataset"),
                remedy=_LIST,
            )
        if not (known or self.is_float16) and self.dataset is None:
            formats = [s.value for s in (self.scheme, *self.layers.values()) if s is not Scheme.F16]
            raise ConfigError(
                f"quantizing to {' and '.join(dict.fromkeys(formats))} needs calibration data",
                where=words.say("dataset"),
                remedy=_LIST,
            )

    @property
    def is_float16(self) -> bool:
        """Tell whether nothing becomes an integer."""
        return {self.scheme, *self.layers.values()} == {Scheme.F16}

    @property
    def changes_weights(self) -> bool:
        """Tell whether the float network itself is changed before it is quantized."""
        return self.equalize is not None or self.bias_correction

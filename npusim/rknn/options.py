"""The parameters of ``RKNN.config`` in npusim's terms."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from npusim import environment
from npusim.errors import ConfigError
from npusim.quantization.algorithms import Algorithm
from npusim.quantization.eras import DEFAULT_ERA, Era, era_of
from npusim.quantization.schemes import Scheme, scheme_named
from npusim.rknn.channels import ChannelSettings, parse_channels
from npusim.rknn.platforms import parse_targets
from npusim.rknn.second_toolkit import TYPES

# Parameters that change how the vendor's tool works and not what the network computes.
SILENT = {
    "inputs_scale_range": None,
    "do_sparse_network": True,
    "output_optimize": 0,
    "samples": None,
    "restart": None,
    "optimize": None,
    "dtype": None,
    "model_data_format": None,
    "model_quantize": None,
    "deconv_merge": True,
    "conv_mul_merge": True,
    "need_horizontal_merge": False,
}
# Parameters whose effect a user would miss.
MISSED = {
    "model_pruning": False,
    "force_builtin_perm": False,
    "remove_tensorflow_output_permute": False,
    "input_fitting": "scale",
    "caffe_mean_file": None,
    "mean_file": None,
    "input_normalization": None,
    "force_gray": None,
    "random_crop": None,
    "random_flip": None,
    "random_mirror": None,
    "random_brightness": None,
    "random_contrast": None,
    "quantized_hybrid": False,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """A checked configuration."""

    batch_size: int = 100
    epochs: int = -1
    scheme: Scheme = Scheme.U8
    algorithm: Algorithm = field(default_factory=Algorithm)
    optimization_level: int = 3
    targets: tuple[str, ...] = ("rk1808",)
    channels: ChannelSettings = field(default_factory=ChannelSettings)
    quantize_input_node: bool = False
    merge_dequant_layer_and_output_node: bool = False
    toolkit: Era = DEFAULT_ERA
    no_join: tuple[str, ...] = ()
    avoid_driver_faults: bool = False
    silent: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()

    @property
    def sample_limit(self) -> int | None:
        """Return how many samples calibration uses at most; None for all.

        Source: user guide 1.7.3: batch_size samples a step, ``epochs`` steps, -1 for as many as
        the list needs.
        """
        return None if self.epochs == -1 else self.batch_size * self.epochs


def options_of(given: Mapping[str, Any]) -> Options:
    """Check the parameters of ``config``, all by name; errors as in ``parse_options``."""
    others = {name: given[name] for name in (*SILENT, *MISSED)}
    return parse_options(
        **{name: value for name, value in given.items() if name not in others}, others=others
    )


def parse_options(
    *,
    batch_size: Any = 100,
    epochs: Any = -1,
    channel_mean_value: Any = None,
    mean_values: Any = None,
    std_values: Any = None,
    reorder_channel: Any = None,
    quantized_dtype: Any = None,
    quantized_algorithm: Any = "normal",
    mmse_epoch: Any = 3,
    quantized_moving_alpha: Any = 0.01,
    quantized_divergence_nbins: Any = 1024,
    optimization_level: Any = 3,
    target_platform: Any = None,
    quantize_input_node: Any = False,
    merge_dequant_layer_and_output_node: Any = False,
    toolkit: Any = None,
    no_join: Any = None,
    avoid_driver_faults: Any = False,
    others: Mapping[str, Any] | None = None,
) -> Options:
    """Check the parameters of ``config``.

    Raises
    ------
    ConfigError
        Naming the parameter, the rule and the value.
    """
    others = others or {}
    return Options(
        batch_size=_integer("batch_size", 100 if batch_size is None else batch_size, low=1),
        epochs=_epochs(-1 if epochs is None else epochs),
        scheme=_scheme(quantized_dtype),
        algorithm=_algorithm(
            quantized_algorithm, mmse_epoch, quantized_moving_alpha, quantized_divergence_nbins
        ),
        optimization_level=_integer("optimization_level", optimization_level, low=0, high=3),
        targets=parse_targets(target_platform),
        channels=parse_channels(channel_mean_value, mean_values, std_values, reorder_channel),
        quantize_input_node=bool(quantize_input_node),
        merge_dequant_layer_and_output_node=bool(merge_dequant_layer_and_output_node),
        toolkit=era_of(toolkit or DEFAULT_ERA),
        no_join=_names("no_join", no_join),
        avoid_driver_faults=bool(avoid_driver_faults),
        silent=_changed(others, SILENT),
        missed=_changed(others, MISSED),
    )


def _scheme(name: Any) -> Scheme:
    if not name:
        return Scheme.U8
    nearest = TYPES.get(str(name).strip().lower())
    if nearest:
        raise ConfigError(
            f"quantized_dtype {name!r} belongs to RKNN-Toolkit 2", remedy=f"here: {nearest}"
        )
    return scheme_named(str(name))


def _algorithm(name: Any, epochs: Any, alpha: Any, bins: Any) -> Algorithm:
    """Return the calibration algorithm.

    ``NPUSIM_MOVING_ALPHA=new`` reads ``quantized_moving_alpha`` as the toolkit words it: the weight
    of the newest samples.
    """
    try:
        weight = 0.01 if alpha is None else float(alpha)
    except (TypeError, ValueError, OverflowError):
        raise ConfigError(f"quantized_moving_alpha {alpha!r}", rule="a number 0 .. 1") from None
    return Algorithm(
        name=str(name or "normal").strip().lower().replace("-", "_"),
        mmse_epoch=_integer("mmse_epoch", 3 if epochs is None else epochs, low=1),
        moving_alpha=weight,
        moving_alpha_weighs=environment.MOVING_ALPHA.read() or "old",
        divergence_nbins=_integer(
            "quantized_divergence_nbins", 1024 if bins is None else bins, low=16
        ),
    )


def _integer(name: str, value: Any, *, low: int, high: int | None = None) -> int:
    try:
        number = int(value)
        fits = number == float(value) and low <= number and (high is None or number <= high)
    except (TypeError, ValueError, OverflowError):
        fits = False
    if not fits:
        limits = f"an integer of at least {low}" if high is None else f"an integer {low}..{high}"
        raise ConfigError(f"{name} {value!r}", rule=limits)
    return number


def _names(name: str, value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ConfigError(f"{name} {value!r}", rule="a list of layer names")
    return tuple(value)


def _epochs(value: Any) -> int:
    number = _integer("epochs", value, low=-1)
    if number == 0:
        raise ConfigError("epochs 0", rule="-1 for all samples, or at least 1")
    return number


def _changed(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(
        f"{name}={given[name]!r}"
        for name, default in defaults.items()
        if name in given and given[name] != default and given[name] is not None
    )

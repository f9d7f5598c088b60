"""The parameters of ``RKNN.config`` in npusim's terms."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from npusim.errors import ConfigError
from npusim.quantization.schemes import Scheme, scheme_named
from npusim.rknn.channels import ChannelSettings, parse_channels
from npusim.rknn.platforms import parse_targets

# Parameters that change how the vendor's tool works and not what the network computes.
SILENT = {
    "mmse_epoch": 3,
    "quantized_moving_alpha": 0.01,
    "quantized_divergence_nbins": 1024,
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
    "quantize_input_node": False,
    "merge_dequant_layer_and_output_node": False,
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
    optimization_level: int = 3
    targets: tuple[str, ...] = ("rk1808",)
    channels: ChannelSettings = field(default_factory=ChannelSettings)
    silent: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()

    @property
    def sample_limit(self) -> int | None:
        """Return how many samples calibration uses at most; None for all.

        Source: user guide 1.7.3: batch_size samples a step, ``epochs`` steps, -1 for as many as
        the list needs.
        """
        return None if self.epochs == -1 else self.batch_size * self.epochs


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
    optimization_level: Any = 3,
    target_platform: Any = None,
    others: Mapping[str, Any] | None = None,
) -> Options:
    """Check the parameters of ``config``.

    Raises
    ------
    ConfigError
        Naming the parameter, the rule and the value.
    """
    algorithm = str(quantized_algorithm or "normal").strip().lower()
    if algorithm != "normal":
        raise ConfigError(
            f"quantized_algorithm {quantized_algorithm!r}",
            rule="npusim knows 'normal': minimum and maximum over all samples",
            remedy="leave quantized_algorithm out",
        )
    others = others or {}
    return Options(
        batch_size=_integer("batch_size", 100 if batch_size is None else batch_size, low=1),
        epochs=_epochs(-1 if epochs is None else epochs),
        scheme=scheme_named(str(quantized_dtype)) if quantized_dtype else Scheme.U8,
        optimization_level=_integer("optimization_level", optimization_level, low=0, high=3),
        targets=parse_targets(target_platform),
        channels=parse_channels(channel_mean_value, mean_values, std_values, reorder_channel),
        silent=_changed(others, SILENT),
        missed=_changed(others, MISSED),
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

"""Mean, scale and channel order in the spellings of all releases."""

import logging
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from npusim.errors import ConfigError
from npusim.ir.graph import Graph, Preprocess
from npusim.ir.tensor import TensorSpec

Numbers = tuple[float, ...]
_messages = logging.getLogger("npusim")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSettings:
    """What was configured: one list of numbers per input, or None for "not given"."""

    mean_and_scale: tuple[Numbers, ...] | None = None
    mean: tuple[Numbers, ...] | None = None
    std: tuple[Numbers, ...] | None = None
    reorder: tuple[Numbers, ...] | None = None

    def preprocess(self, graph: Graph) -> dict[str, Preprocess]:
        """Return the settings of each input, checked against its channels.

        Raises
        ------
        ConfigError
            When a list has the wrong number of numbers, or there is not one list per input.
        """
        given = {
            "channel_mean_value": self.mean_and_scale,
            "mean_values": self.mean,
            "std_values": self.std,
            "reorder_channel": self.reorder,
        }
        count = len(graph.inputs)
        for name, lists in given.items():
            if lists is not None and len(lists) == 1 < count:
                given[name] = lists * count
                _messages.warning(
                    f"{name} holds one list for {count} inputs; it is used for each of them"
                )
            elif lists is not None and len(lists) != count:
                raise ConfigError(
                    f"{name} has settings for {len(lists)} inputs",
                    rule=f"the model has {count}: {', '.join(graph.inputs)}",
                    remedy="separate the inputs by '#' in strings, or give one list per input",
                )
        result = {}
        for i, name in enumerate(graph.inputs):
            spec = graph.spec(name)
            part = {key: lists[i] for key, lists in given.items() if lists is not None}
            mean, std = _split_mean_and_scale(part.get("channel_mean_value", ()), spec)
            mean = mean or _per_channel("mean_values", part.get("mean_values", ()), spec)
            std = std or _per_channel("std_values", part.get("std_values", ()), spec)
            if 0.0 in std:
                raise ConfigError(f"input {name!r} is divided by 0", rule="scale and std are not 0")
            if "reorder_channel" in part:
                reorder = _order(part["reorder_channel"], spec)
            else:  # Source: user guide 1.7.3, config, reorder_channel
                bgr = graph.source.framework == "caffe" and _channels(spec) == 3
                reorder = (2, 1, 0) if bgr else ()
            if mean or std or reorder:
                result[name] = Preprocess(mean=mean, std=std, reorder=reorder)
        return result


def parse_channels(
    channel_mean_value: Any = None,
    mean_values: Any = None,
    std_values: Any = None,
    reorder_channel: Any = None,
) -> ChannelSettings:
    """Read the four parameters of ``config``.

    Raises
    ------
    ConfigError
        When something is no number, or the old and the new style are mixed.
    """
    if channel_mean_value is not None and (mean_values is not None or std_values is not None):
        raise ConfigError(
            "channel_mean_value and mean_values/std_values are both given",
            rule="one style at a time",
            remedy="drop channel_mean_value",
        )
    return ChannelSettings(
        mean_and_scale=_lists("channel_mean_value", channel_mean_value),
        mean=_lists("mean_values", mean_values),
        std=_lists("std_values", std_values),
        reorder=_lists("reorder_channel", reorder_channel),
    )


def _lists(name: str, value: Any) -> tuple[Numbers, ...] | None:
    """Return one tuple of numbers per input."""
    if value is None:
        return None
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, str):
        return tuple(_numbers(name, part) for part in value.split("#"))
    if not isinstance(value, Sequence):
        return (_numbers(name, [value]),)
    if value and all(isinstance(item, str | Sequence) or item is None for item in value):
        if all(isinstance(item, str) and _is_number(item) for item in value):
            return (_numbers(name, value),)  # ['0', '0', '0', '255']
        return tuple(_numbers(name, item) for item in value)
    return (_numbers(name, value),)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _numbers(name: str, value: Any) -> Numbers:
    if value is None:
        return ()
    items = [t for t in re.split(r"[,\s]+", value) if t] if isinstance(value, str) else value
    wrong = ConfigError(
        f"{name}: {value!r} is not a list of numbers",
        rule="numbers separated by blanks, inputs separated by '#', or one list per input",
    )
    if isinstance(items, bytes | bytearray | memoryview):  # Python would take them for numbers
        raise wrong
    try:
        numbers = tuple(float(item) for item in items)
    except (TypeError, ValueError, OverflowError):
        raise wrong from None
    if not all(math.isfinite(number) for number in numbers):
        raise ConfigError(f"{name}: {value!r} holds NaN or infinity", rule="finite numbers")
    return numbers


def _channels(spec: TensorSpec) -> int:
    return spec.shape[1] if len(spec.shape) > 1 else 1


def _where(spec: TensorSpec) -> str:
    return f"input {spec.name!r} of shape {spec.shape}"


def _split_mean_and_scale(numbers: Numbers, spec: TensorSpec) -> tuple[Numbers, Numbers]:
    """Return (means, scale): one mean per channel and one scale for all of them."""
    if not numbers:
        return (), ()
    channels = _channels(spec)
    if channels == 1 and len(numbers) == 4:  # until 1.2 grey images had 'M0 0 0 S0'
        return numbers[:1], numbers[3:]
    if _changes_nothing("channel_mean_value", numbers[:-1], numbers[-1:], spec):
        return (), ()
    one_for_all = len(spec.shape) != 4 and len(numbers) == 2
    if len(numbers) != channels + 1 and not one_for_all:
        text = " ".join(f"{n:g}" for n in numbers)
        names = " ".join(f"M{i}" for i in range(channels)) if channels <= 8 else "M0 M1 ..."
        missing = "; the scale is missing" if len(numbers) == channels else ""
        raise ConfigError(
            f"channel_mean_value '{text}' has {len(numbers)} numbers{missing}",
            where=_where(spec),
            rule=f"{channels} channels take {channels + 1} numbers, one mean per channel and then "
            f"one scale: '{names} S0'",
            remedy=f"for example '{text} 1'" if missing else "",
        )
    return numbers[:-1], numbers[-1:]


def _changes_nothing(name: str, means: Numbers, scales: Numbers, spec: TensorSpec) -> bool:
    """Tell whether numbers for three channels stand at another input, and say 0 and 1."""
    count = max(len(means), len(scales))
    if count != 3 or _channels(spec) == 3:
        return False
    if any(means) or any(scale != 1 for scale in scales):
        return False
    _messages.warning(
        f"{name} is given for three channels and {_where(spec)} has others; it changes nothing "
        "and is left out"
    )
    return True


def _per_channel(name: str, numbers: Numbers, spec: TensorSpec) -> Numbers:
    channels = _channels(spec)
    means, scales = (numbers, ()) if name == "mean_values" else ((), numbers)
    if _changes_nothing(name, means, scales, spec):
        return ()
    if len(numbers) not in (0, 1, channels):
        raise ConfigError(
            f"{name} has {len(numbers)} numbers", where=_where(spec), rule=f"{channels} channels"
        )
    return numbers


def _order(numbers: Numbers, spec: TensorSpec) -> tuple[int, ...]:
    if not numbers:
        return ()
    if sorted(numbers) != [0, 1, 2]:
        raise ConfigError(
            f"reorder_channel {' '.join(f'{n:g}' for n in numbers)}",
            where=_where(spec),
            rule="an order of 0 1 2, for example '2 1 0'",
        )
    if numbers == (0, 1, 2):
        return ()
    if _channels(spec) != 3:
        _messages.warning(
            f"reorder_channel has no effect on {_where(spec)}: only inputs with three channels are "
            "reordered"
        )
        return ()
    return tuple(int(n) for n in numbers)

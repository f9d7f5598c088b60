"""Target platforms by their toolkit names."""

from collections.abc import Sequence

from npusim import environment
from npusim.errors import ConfigError
from npusim.explain import see
from npusim.ir.targets import (
    CHIPS,
    FAMILY,
    OTHER_FAMILY,
    SIMULATED,
    assumption,
    chip_named,
)
from npusim.rknn.second_toolkit import remedy_for_chip


def parse_targets(value: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the platforms of ``target_platform`` in lower case.

    Raises
    ------
    ConfigError
        For unknown names and mixed families.
    """
    if value is None:
        return ("rk1808",)
    names = list(value) if isinstance(value, list | tuple | set) else [str(value)]
    targets = tuple(dict.fromkeys(chip_named(name) for name in names))
    unknown = [name for name in targets if name not in CHIPS]
    if unknown or not targets:
        raise ConfigError(
            f"target_platform {value!r}",
            rule=f"one or more of {', '.join(CHIPS)}",
            remedy=remedy_for_chip(unknown),
        )
    if set(targets) & set(FAMILY) and set(targets) & set(OTHER_FAMILY):
        raise ConfigError(
            f"target_platform {value!r} mixes two chip families",
            rule=f"all of {', '.join(FAMILY)} or all of {', '.join(OTHER_FAMILY)}",
        )
    return targets


def simulated_chip(targets: Sequence[str]) -> str:
    """Return the machine that stands for the platforms: RK1806 is computed as RK1808."""
    return next((name for name in targets if name in SIMULATED + OTHER_FAMILY), "rk1808")


def transport_to(target: str | Sequence[str] | None, device_id: str | None) -> str:
    """Return how a program reaches the board that ``init_runtime`` was asked for.

    A device id names a board that hangs on a PC, which the toolkit reaches through adb; without one
    the RK3399Pro's NPU hangs on the USB link of its own host. Empty where nothing says.
    """
    if not target:
        return ""
    if device_id is not None:
        return "adb"
    name = target if isinstance(target, str) else target[0]
    return "usb" if chip_named(name) == "rk3399pro" else ""


def check_runtime_target(target: str | Sequence[str] | None, model_target: str) -> str | None:
    """Check ``init_runtime``'s target against the model's; return a line to say, if any.

    Raises
    ------
    ConfigError
        When the target is unknown or of another family than the model, or when
        ``NPUSIM_TARGET=strict`` asks for the board that is not there.
    """
    own = next((group for group in (FAMILY, OTHER_FAMILY) if model_target.lower() in group), ())
    if not own:
        raise ConfigError(
            f"the model was built for {model_target}",
            rule=f"npusim simulates {', '.join(CHIPS)}",
            remedy="build it again with target_platform='rk1808'",
        )
    assumed = assumption(model_target)
    if target is None:
        return f"{assumed} {see('assumed-arithmetic')}" if assumed else None
    if isinstance(target, list | tuple) and len(target) == 1:
        target = target[0]  # scripts keep one list for config and for this
    name = chip_named(target)
    if name not in CHIPS:
        raise ConfigError(
            f"target {target!r}", rule=f"one of {', '.join(own)}", remedy=remedy_for_chip([name])
        )
    if name not in own:
        raise ConfigError(
            f"target {target!r} cannot run this model, which was built for {model_target}",
            rule=f"the model runs on {', '.join(own)}",
            remedy="leave target out to use the simulator, or build it with "
            f"target_platform={name!r}",
        )
    if environment.TARGET.read() == "strict":
        raise ConfigError(
            f"no {target} board is connected",
            rule="NPUSIM_TARGET=strict asks for real boards, npusim has none",
            remedy="leave target out, or unset NPUSIM_TARGET",
        )
    said = (
        f"target {target}: no board is used, npusim simulates the {model_target} on this computer"
    )
    return f"{said}; {assumed} {see('assumed-arithmetic')}" if assumed else said

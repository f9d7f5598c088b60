"""Shared test set-up: deterministic Hypothesis, interrupts that arrive."""

import signal

from hypothesis import HealthCheck, settings

settings.register_profile(
    "npusim",
    deadline=None,
    derandomize=True,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("npusim")

# a shell has what it starts in the background ignore interrupts, and their children too
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

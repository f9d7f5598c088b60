"""Shared test set-up: deterministic Hypothesis."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "npusim",
    deadline=None,
    derandomize=True,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("npusim")

"""npusim: bit-exact simulation and performance estimation of the RK1808 / RK3399Pro NPU."""

__version__ = "0.1.0"

"""Consecutive steps recorded once and made as one compiled call; see ``npusim.kernels.tape``."""

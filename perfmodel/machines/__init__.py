"""Machine descriptions (TOML), one per chip; read by ``npusim.perfmodel.machine``."""

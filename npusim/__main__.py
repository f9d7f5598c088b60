"""``python -m npusim``."""

from npusim.cli import start

start()

"""``python -m rknn.bin.visualization``."""

import sys

if __name__ == "__main__":
    sys.exit(
        "npusim has no window like the toolkit's rknn.bin.visualization: npusim lists commands for "
        "the same jobs, npusim analyze writes pages to look at"
    )

"""``python -m rknn.bin.custom_op``."""

import sys

if __name__ == "__main__":
    sys.exit(
        "npusim does not compile custom operators: give RKNN.register_op(name, function) a Python "
        "function, which runs as a layer of the CPU"
    )

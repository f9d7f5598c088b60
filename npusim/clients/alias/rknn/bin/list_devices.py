"""``python -m rknn.bin.list_devices``."""

from npusim.rknn import RKNN

if __name__ == "__main__":
    RKNN().list_devices()

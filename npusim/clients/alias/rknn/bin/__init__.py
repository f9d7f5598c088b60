"""Programs of the toolkit: ``python -m rknn.bin.list_devices``."""

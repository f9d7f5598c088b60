"""One cost function per engine of the chip."""

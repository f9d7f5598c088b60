"""Search of number formats layer by layer: accuracy against time."""

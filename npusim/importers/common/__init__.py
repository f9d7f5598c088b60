"""What every importer shares: the growing graph, and models that come quantized."""

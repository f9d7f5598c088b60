"""Look inside a run: layer dumps, metrics and layer-by-layer comparison."""

"""What a network is: types, quantization, tensors, nodes and the graph. Depends on numpy only."""

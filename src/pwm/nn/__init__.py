"""Building blocks independent of tasks and data: perceptrons, activations, two-hot code, matrix products, Adam."""

"""Building blocks that know nothing of tasks or data: layers, activations, two-hot coding, batched networks."""

"""Short-horizon actor-critic: first-order policy gradients through a differentiable simulator."""

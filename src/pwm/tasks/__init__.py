"""What a task is, which tasks there are, and the simulators behind them."""

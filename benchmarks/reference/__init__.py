"""The algorithm written the obvious way, one policy at a time: what the ratios of the benchmarks are divided by.

Stock `torch.nn` modules and `torch.optim.Adam`, nothing frozen, gradients through everything. It is also an oracle:
tests/benchmarks checks that the library computes the same losses, gradients and updates.
"""

"""What this library costs beside a plain PyTorch form of the same algorithm: `python -m benchmarks --help`."""

"""What this library costs beside a plain PyTorch implementation of the same algorithm: `python -m benchmarks --help`."""

"""Compiled kernels for CPUs: `kernels.c`, built with the machine's own compiler at first use, or done without."""

from pwm.nn.native.build import description, kernels, why_not

__all__ = ["description", "kernels", "why_not"]

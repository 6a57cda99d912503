"""Compiled kernels for CPUs: the C files here, built with the machine's own compiler at first use, or done without."""

from pwm.nn.native.build import description, kernels, why_not

__all__ = ["description", "kernels", "why_not"]

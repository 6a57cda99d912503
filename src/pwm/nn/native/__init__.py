"""Optional compiled kernels for CPUs, built from C by the machine's compiler at first use."""

from pwm.nn.native.build import description, kernels, why_not

__all__ = ["description", "kernels", "why_not"]

"""Optional compiled kernels for CPUs, built from C by the machine's compiler at first use.

All other code imports from here: whether there are kernels (`kernels`, `why_not`), which tensors they support, and
their functions.
"""

from pwm.nn.native.adam import clip_adam
from pwm.nn.native.build import description, kernels, why_not
from pwm.nn.native.calls import rehearsal, served
from pwm.nn.native.layers import (
    fold,
    fold_backward,
    mish_norm,
    mish_norm_backward,
    norm_act,
    norm_act_backward,
    usable,
)
from pwm.nn.native.products import multiplies, multiplies_bfloat16, multiply, pack
from pwm.nn.native.regression import regress, regressible

__all__ = [
    "clip_adam", "description", "fold", "fold_backward", "kernels", "mish_norm", "mish_norm_backward", "multiplies",
    "multiplies_bfloat16", "multiply", "norm_act", "norm_act_backward", "pack", "regress", "regressible", "rehearsal",
    "served", "usable", "why_not",
]  # fmt: skip

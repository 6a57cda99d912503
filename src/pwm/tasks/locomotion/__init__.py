"""Differentiable, contact-rich locomotion: an engine on Newton's articulated dynamics, and the paper's tasks.

Nothing here imports Newton or Warp before an environment is made; they come with the extra `pwm[locomotion]`.
"""

"""Learners and planners: PWM's policies in imagination, MPPI, and the baselines SHAC, PPO and SAC."""

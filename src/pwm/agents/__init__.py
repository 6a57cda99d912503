"""Baselines that learn in the environment itself: SHAC through its gradients, PPO and SAC through Stable-Baselines3."""

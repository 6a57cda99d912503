"""PPO and SAC of Stable-Baselines3 on the library's tasks; the package is imported when a training begins."""

"""PPO and SAC of Stable-Baselines3 on the library's tasks; that package is imported only for training."""

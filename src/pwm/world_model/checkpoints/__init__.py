"""Reads and writes checkpoints of TD-MPC2 agents and of PWM world models in the formats of their authors' code."""

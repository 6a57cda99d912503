"""Agents of TD-MPC2 and world models of PWM as their authors' code saves them: read into ours, and written back."""

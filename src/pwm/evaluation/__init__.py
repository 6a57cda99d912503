"""Evaluates policies in the simulator: episodes, statistics, films."""

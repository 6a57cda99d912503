"""Errors, files, configuration, devices, randomness, metrics and progress: what every other room stands on."""

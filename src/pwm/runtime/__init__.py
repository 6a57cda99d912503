"""Errors, files, configuration, devices, random numbers, metrics and progress, for all other rooms."""

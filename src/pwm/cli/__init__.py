"""The command line: one file per command, which parses flags and prints results."""

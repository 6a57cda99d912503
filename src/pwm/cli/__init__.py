"""The command line: one file per command, and the steps that commands and library share."""

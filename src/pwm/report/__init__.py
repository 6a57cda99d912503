"""One self-contained HTML page per run, and the same table for the terminal."""

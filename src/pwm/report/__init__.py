"""Reports of a run: one self-contained HTML page, and tables for the terminal."""

"""Policies in the real simulator: episodes, statistics over them, films."""

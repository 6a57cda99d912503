"""The experiments behind docs/results: each runs, measures, and renders its page."""

"""The experiments behind docs/results: what they run, what they measure, and the page that shows it."""

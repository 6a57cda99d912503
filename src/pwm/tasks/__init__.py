"""Task descriptions, the task registry, and the simulators."""

"""PWM: from logged experience, through one multi-task world model, to one policy per task."""

__version__ = "0.1.0"

"""The default model and its card."""

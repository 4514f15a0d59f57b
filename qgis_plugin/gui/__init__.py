"""Widgets; imported in the Desktop only."""

"""Simulators: one folder each, providing ``BACKEND``."""

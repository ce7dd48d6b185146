"""Splits that nobody publishes, as files: which recordings are for what."""

"""Speed of our own code over commits, for asv. Never a test."""

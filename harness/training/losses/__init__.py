"""Loss terms that several methods share, each with the reference where the formula is."""

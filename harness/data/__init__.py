"""Samples: fetched, verified, batched, augmented, encoded."""

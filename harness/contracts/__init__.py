"""The nouns: types only, one file each. Nothing here imports torch."""

"""What a trained network answers, when, and at what cost."""

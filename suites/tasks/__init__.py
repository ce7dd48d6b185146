"""What is asked of a sample: one file a task, found by its name."""

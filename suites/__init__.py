"""What is compared: one file a suite, and folders of methods, models and data sets."""

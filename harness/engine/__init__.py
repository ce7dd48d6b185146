"""From a suite to rows: which cells there are, and how they are run."""

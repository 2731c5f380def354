"""From requests and suites to jobs."""

"""Turn requests and suites into jobs: settings, plugins, data, and the plan of a suite."""

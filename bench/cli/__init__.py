"""The command line: one file a command, and what the larger ones need."""

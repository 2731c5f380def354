"""Help for tests: packages of others, and how to put them on the import path."""

"""The specification of a cell: its fields, its settings, and the names of plugins."""

"""The data set in a folder of the user."""

"""Parts of the attacks that search for the inputs behind a client's features."""

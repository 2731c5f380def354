"""Networks and training data of the learned attacks."""

"""Networks, clients and training of the classifier victims."""

"""Files, errors, random numbers and other helpers that know nothing of the benchmark."""

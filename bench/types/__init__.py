"""Values that flow through the benchmark: records, pictures, claims."""

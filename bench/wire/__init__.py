"""What crossed the wire: transcripts, sealed secrets, captures."""

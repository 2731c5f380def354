"""How the embedded extractor was trained."""

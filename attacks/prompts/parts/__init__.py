"""Parts of the attacks on prompts."""

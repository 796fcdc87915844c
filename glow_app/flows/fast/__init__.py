"""How the layers run fast."""

"""Sessions, scheduling and generation. Token ids only: no text, no HTTP."""

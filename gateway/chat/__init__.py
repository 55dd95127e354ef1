"""Messages to tokens and back. Knows no HTTP."""

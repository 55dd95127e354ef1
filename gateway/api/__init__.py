"""HTTP and JSON. Knows no tokens."""

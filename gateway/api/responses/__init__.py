"""/v1/responses: the same orders as a chat completion's, asked and answered in items."""

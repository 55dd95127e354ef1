"""Published packages: which there are, which of a repository's files one needs, and fetching them."""

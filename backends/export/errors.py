"""What an export can fail with."""


class ExportError(Exception):
    """The checkpoint cannot be exported; the message names the file and what was expected and found."""

"""What can go wrong with a published package."""


class PullError(Exception):
    """A package that cannot be had; the message is a sentence that says why, and where it can what to do."""

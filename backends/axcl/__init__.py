"""The AX650N card, driven through the call surface of pyAXCL."""

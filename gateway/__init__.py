"""axgate: an OpenAI-compatible multimodal chat gateway for the AXERA AX650N NPU."""

__version__ = "0.1.0"

"""Hugging Face checkpoint to a model package that the emulated card runs, without torch or transformers."""

from backends.export.errors import ExportError
from backends.export.options import ExportOptions
from backends.export.package import export_package
from backends.export.recipe import export_recipe

__all__ = ["ExportError", "ExportOptions", "export_package", "export_recipe"]

"""A workbench for people who study why robot policies fail."""

__version__ = "0.1.0"

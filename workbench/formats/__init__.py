"""Other people's data formats: one file a format, named by ``conf/format/``."""

from workbench.formats.exporting import export
from workbench.formats.format import Format, Header, format_named

__all__ = ["Format", "Header", "export", "format_named"]

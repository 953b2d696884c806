"""Results that show themselves: as plain data, as a data frame, and in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.types.data import Record

if TYPE_CHECKING:
    import pandas as pd


class Tabular:
    """A result of rows; whoever inherits says what they are by ``rows_of_table``."""

    def rows_of_table(self) -> Sequence[Record]:
        """One plain record a row."""
        raise NotImplementedError

    def table(self) -> pd.DataFrame:
        """One row each; what is nested has a dotted column."""
        import pandas as pd

        return pd.json_normalize(list(self.rows_of_table()))

    def _repr_html_(self) -> str:
        """The table, for a notebook."""
        shown: str = self.table().to_html(max_cols=12, float_format="{:.3g}".format)
        return shown

    def __str__(self) -> str:
        return self.table().to_string(max_cols=12, float_format="{:.3g}".format)

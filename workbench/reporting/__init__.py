"""Numbers for people: words, tables, charts, pages, cards.

:class:`Table` is the one table of terminal, page, notebook, Markdown, CSV and LaTeX.  ``report.report`` writes the page
of a run, ``leaderboard.write`` that of a leaderboard, ``cards.write_card`` the card of a data set.
"""

from workbench.reporting.table import Cell, Column, Row, Table

__all__ = ["Cell", "Column", "Row", "Table"]

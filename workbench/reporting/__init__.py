"""Numbers for people: words, tables, charts, pages, cards."""

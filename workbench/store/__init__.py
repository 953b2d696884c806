"""Episodes on disk: one directory a data set, Zarr format 3, safe against a writer killed at any moment.

``layout`` says what lies where and how it stays whole, ``chunks`` and ``arrays`` how rows become files, ``parts`` what
was committed; ``writer``, ``reader``, ``labels`` and ``verifying`` are what is done with them; ``tables`` lie beside
the parts.  Nothing outside this room knows zarr.
"""

from workbench.store.layout import OWN_COLUMNS, StoreHeader
from workbench.store.reader import Store
from workbench.store.tables import check_columns, read_table, table_names, write_table
from workbench.store.verifying import Verified, save_whole, verify_store
from workbench.store.writer import StoreWriter

__all__ = [
    "OWN_COLUMNS",
    "Store",
    "StoreHeader",
    "StoreWriter",
    "Verified",
    "check_columns",
    "read_table",
    "save_whole",
    "table_names",
    "verify_store",
    "write_table",
]

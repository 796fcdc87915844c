"""File formats of data sets: folders, zips, LMDB, tables, arrays."""

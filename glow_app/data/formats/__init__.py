"""Files in which data sets come: folders, zips, LMDB, tables, arrays."""

"""Released data: a folder that is handed on, with checksums and tables that say what is in it."""

"""Importer of price files: recognises a file's format, parses and validates every line, repairs what was asked for."""

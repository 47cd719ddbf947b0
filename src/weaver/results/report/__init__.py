"""HTML report of one run: a single file that opens offline."""

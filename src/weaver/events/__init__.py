"""The log: every input and every decision, as one value a fact, in one order, for ever. It speaks no SQL."""

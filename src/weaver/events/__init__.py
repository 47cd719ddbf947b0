"""The event log: every input and decision of a run as an event, in one order. Ports and in-memory versions, no SQL."""

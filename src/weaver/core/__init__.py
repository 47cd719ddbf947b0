"""The values that every room speaks in: instants, timeframes, bars, instruments, orders, fills, the account, errors.

Nothing here reads a clock, a file or a network, and nothing here imports another room.
"""

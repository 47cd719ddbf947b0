"""WallE keeps what must last, as the little robot does that collects and stores: here, market data on disk."""

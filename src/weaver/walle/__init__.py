"""WallE keeps what must last, as the little robot does that collects and stores: bars in files, all else in PostgreSQL."""

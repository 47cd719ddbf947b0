"""The command line. Each command is a module, loaded when it is used, so that `weaver --help` answers at once."""

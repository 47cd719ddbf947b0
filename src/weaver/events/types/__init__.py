"""Payload classes, one module per namespace. They import only the registry, because logs outlive the code around them."""

"""The words everyone shares. Nothing here imports any other room, does I/O or reads a clock."""

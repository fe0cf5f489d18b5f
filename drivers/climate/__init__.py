"""Command sets of climate sensors."""

"""Command sets of climate."""

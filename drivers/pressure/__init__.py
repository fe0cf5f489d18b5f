"""Command sets of pressure."""

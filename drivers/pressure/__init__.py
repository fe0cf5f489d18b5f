"""Command sets of pressure instruments."""

"""Command sets of thermometers."""

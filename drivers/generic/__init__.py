"""Command sets of no maker."""

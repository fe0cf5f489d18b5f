"""Command sets that do not belong to one manufacturer."""

"""Command sets of balances."""

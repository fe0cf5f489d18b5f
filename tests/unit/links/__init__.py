"""Addresses, frames and the sharing of wires: what needs no wire to be tried."""

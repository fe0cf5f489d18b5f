"""Simulated climate sensors."""

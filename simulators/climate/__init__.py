"""Simulated climate."""

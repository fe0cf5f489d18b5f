"""Simulated pressure."""

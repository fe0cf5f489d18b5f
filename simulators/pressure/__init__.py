"""Simulated pressure instruments."""

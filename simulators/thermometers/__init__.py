"""Simulated thermometers."""

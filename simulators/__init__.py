"""Simulated instruments: functions of a request and of time, served on pseudo-terminals and TCP ports."""

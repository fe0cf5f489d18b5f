"""Simulated instruments: functions of a request and of time, served on real wires."""

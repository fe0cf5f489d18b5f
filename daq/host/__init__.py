"""Interfaces to the machine: time, signals, systemd, the journal."""

"""What the machine gives: time, signals, systemd, the journal."""

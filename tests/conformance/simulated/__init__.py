"""Every driver on real wires, with simulated instruments that do what real ones do, against the truth."""

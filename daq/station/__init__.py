"""From the instruments to the road: reading them, keeping what was read, sending it, saying how all of it is."""

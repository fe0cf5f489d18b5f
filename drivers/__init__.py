"""Everything about the communication with instruments; independent of what happens to a reading afterwards."""

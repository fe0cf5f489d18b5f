"""Everything about talking to an instrument; knows nothing of what happens to a reading afterwards."""

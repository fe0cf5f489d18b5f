"""What daq costs and how fast it is: whole processes on this machine, medians, ratios of things measured in one run."""

"""Speed and resource use of daq: whole processes on this machine, medians, and ratios of figures of one run."""

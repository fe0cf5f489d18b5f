"""One module for each command of `daq`."""

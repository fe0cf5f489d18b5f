"""The whole laboratory on one machine, each part a real process: servers, simulators, station, bridge, a live view."""

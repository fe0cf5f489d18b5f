"""The wires between the computer and the instruments: serial, TCP, VISA and Modbus."""

from drivers.links.wires import Wires, device_at

__all__ = ["Wires", "device_at"]

"""The wires between the computer and the instruments: serial, TCP, VISA and Modbus."""

from drivers.links.wires import Wires

__all__ = ["Wires"]

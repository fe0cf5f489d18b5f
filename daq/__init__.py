"""What happens to a reading after the instrument gave it: spool, MQTT, bridge, database."""

from importlib.metadata import version

__version__ = version("daq")

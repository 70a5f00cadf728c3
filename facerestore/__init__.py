"""facerestore restores faces in real photographs: offline, on any machine, keeping the person recognisable."""

__version__ = "0.1.0"

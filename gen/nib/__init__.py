"""nib, Net ISP Balance: the compiler of balance.yaml, the monitor and the operator's tool."""

__version__ = "0.1.0"

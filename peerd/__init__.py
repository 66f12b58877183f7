"""peerd keeps application data the same on every machine of a local network."""

__version__ = "0.1.0"

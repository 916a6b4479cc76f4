"""Codecs: bytes of field protocols taken apart and put together. No I/O, no clock, no logging."""

"""What every side of Fengsui speaks: model, wire, log, spool, journal, settings, runtime."""

__version__ = "0.1.0"

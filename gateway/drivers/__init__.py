"""Drivers: each turns one field protocol into readings and events."""

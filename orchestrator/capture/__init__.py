"""Captures of a run: started and ended with it, read without an object for each packet, and classified."""

"""A run's keys, where they were asked for, as Wireshark's tables in the evidence. See ``docs/report.md``."""

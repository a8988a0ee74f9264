"""What a run occupies over time: samples of every process and kernel table, and whether they stay flat."""

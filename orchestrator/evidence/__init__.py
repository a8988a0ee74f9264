"""The evidence of a run: the folder, and the files in it that other tools read. See ``docs/evidence.md``."""

"""The kinds of vision towers: one file each."""

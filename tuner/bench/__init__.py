"""`tuner bench`: how fast trials and searches run on this machine, beside what users would write."""

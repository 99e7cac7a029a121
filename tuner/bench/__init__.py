"""`tuner bench`: how fast trials and searches run here, beside what users would write."""

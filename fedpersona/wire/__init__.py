"""All that may cross the wall: what a plan asks, and what an update may hold. No I/O, nothing about anyone."""

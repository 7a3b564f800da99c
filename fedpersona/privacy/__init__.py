"""The mathematics of private sums: no I/O."""

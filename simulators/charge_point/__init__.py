"""One simulated charge point, in parts."""

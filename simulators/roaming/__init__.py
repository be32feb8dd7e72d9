"""The simulated roaming partner, in parts."""

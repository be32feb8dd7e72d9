"""The simulated telematics vendor, in parts."""

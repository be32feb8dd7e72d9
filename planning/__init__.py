"""Pure decisions: the same inputs give the same bytes. No I/O, no clock, no unseeded randomness.

Units inside this room are integers wherever a comparison decides: metres, seconds, watt-hours, watts,
millionths of a currency unit (`_micros`) and of a probability (`_ppm`). Floats appear at the border only.
"""

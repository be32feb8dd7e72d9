"""What a charging stop is and how it moves: pure rules and state, no Temporal, no I/O, no clock."""

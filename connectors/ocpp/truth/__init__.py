"""What stations' words are worth: clocks, registers, samples, checks, connector states. Pure."""

"""Charging limits: profiles as each version wants them, and whether they are obeyed."""

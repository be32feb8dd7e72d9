"""One folder per outside world; vendor types never leave their folder."""

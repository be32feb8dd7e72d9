"""Who may connect: handshake, back-off, TLS, certificates. Passwords: models/station_passwords.py."""

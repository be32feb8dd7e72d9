"""Who may connect: handshake, passwords, TLS, certificates."""

"""Roaming under OCPI 2.2.1, role eMSP: handshake, locations in, commands out, sessions and charge records in
(docs/ocpi.md).

Vendor types stay in this folder; what leaves it is `Evidence`, `CommandReply` and `Charger`."""

"""Telematics under Enode's API shape: signed webhook in, vehicle state, charging action (docs/telematics.md).

Vendor types stay in this folder; what leaves it is `models.evidence.Evidence`, `CommandReply` and
`VehicleSnapshot`."""

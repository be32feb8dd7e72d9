"""OCPP-J as it stands on the wire: frames, schemas, the RPC state machine."""

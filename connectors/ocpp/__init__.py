"""Charge points: OCPP 1.6J and 2.0.1 over websockets. States and rules: docs/ocpp.md."""

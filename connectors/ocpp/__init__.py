"""Charge points: OCPP 1.6J, 2.0.1 and 2.1 over websockets. States and rules: docs/ocpp.md."""

"""The gateway's process, and its house over the store."""

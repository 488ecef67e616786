"""Measures the gateway beside other servers. `../run --help` says how."""

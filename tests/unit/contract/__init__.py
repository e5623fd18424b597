"""What operator and exporter agree on."""

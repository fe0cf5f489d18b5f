"""What travels between a station and a bridge, and how: records, their encoding, batches, acknowledgements, MQTT."""

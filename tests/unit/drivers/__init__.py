"""Single decoders and the answers that they once took wrongly."""

"""Search for people among embedded tracklets."""

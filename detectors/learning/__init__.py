"""What scores and calibrators share: features, networks, ranks."""

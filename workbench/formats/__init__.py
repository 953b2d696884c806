"""One file a format: writes it, reads it, alone knows its library."""

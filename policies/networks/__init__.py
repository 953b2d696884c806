"""Networks: encoders, denoisers, attention, text, vision."""

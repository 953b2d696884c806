"""What faults share: specification, effect, schedule, draws, props, pixels, words."""

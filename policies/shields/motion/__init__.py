"""What shields share: which numbers of an action move what, and what pushes against the hand."""

"""The error of a network against its limit on a ladder of depths."""

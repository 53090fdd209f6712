"""The screen: all that a person sees at a terminal."""

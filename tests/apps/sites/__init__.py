"""The same small site, once in each framework."""

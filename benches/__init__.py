"""Measurements. Each prints figures and judges nothing: see README.md."""

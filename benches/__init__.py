"""Measurements. Each prints figures without a verdict: see README.md."""

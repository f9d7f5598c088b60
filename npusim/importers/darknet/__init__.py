"""Darknet networks: cfg and weights."""

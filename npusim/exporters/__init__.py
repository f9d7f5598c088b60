"""Graphs -> files of other frameworks."""

"""Rewrites of a graph. Every pass is a function from a graph to a new one."""

"""MXNet: symbol json and params."""

"""The chip's arithmetic as numpy definitions on whole arrays, one file per engine and family."""

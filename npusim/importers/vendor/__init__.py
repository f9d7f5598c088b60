"""Models of the vendor's toolkit (ordinary .rknn files of releases 0.9.8 to 1.7.5)."""

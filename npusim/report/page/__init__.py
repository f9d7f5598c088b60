"""The report page: one HTML file that says which layer, why, what to do and what it costs.

``contents`` is what was measured, ``data`` makes plain values of it, ``write`` makes the page.
"""

"""The typed API: what ``npusim`` exports, by what it needs to be loaded.

The toolkit-compatible class in ``npusim.rknn`` and the command line are thin layers over it.
"""

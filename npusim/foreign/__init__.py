"""Other projects' runtimes, each in a process of its own: where one dies, the command goes on.

``child.asked`` is the one door. What runs behind it lies in ``with_*.py``; nothing else of npusim
imports these runtimes, but for PyTorch's, which the importer of its files needs in this process.
"""

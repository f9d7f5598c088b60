"""Cycle-approximate performance model: machine descriptions as data, one cost function per engine.

``npusim.perfmodel.estimate.estimate`` prices a graph; ``npusim.perfmodel.layer_list`` reads
networks that have no weights.
"""

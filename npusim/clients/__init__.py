"""Scripts written for the vendor's toolkit, as they are: ``npusim exec SCRIPT``.

``alias`` holds packages with the toolkit's module names; ``script`` runs a script that finds them,
``install`` puts them into an environment, ``displays`` and ``old_names`` stand in for what scripts
expect of other libraries.
"""

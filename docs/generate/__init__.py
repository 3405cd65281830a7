"""Make the pages of the site that are read off the code: rooms, theorems, commands, figures.

Nothing of this is shipped. `docs/build.py` copies the written pages beside the generated ones and lets Sphinx set both.
"""

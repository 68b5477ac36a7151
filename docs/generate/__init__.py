"""Generator of the reference pages in `docs/reference`, one module per page.

The pages are in git, because other pages and readers of the repository link to them; `make lint`
compares them with the code.
"""

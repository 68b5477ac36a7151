"""The pages, rendered on the server; they need no JavaScript.

All links are relative, so the console works under any path of a reverse proxy. A form is posted to
a path without a slash in it, because an error page is shown there.
"""

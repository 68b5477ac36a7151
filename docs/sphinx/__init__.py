"""Configuration of the site and its Sphinx extension: navigation, and pages of source files."""

"""The documentation: its pages, the generator of its reference, and the configuration of its site.

No part of the wheel.
"""

"""The stage runtime: consumption, back-pressure, offset tracking, delay queue, stall detector."""

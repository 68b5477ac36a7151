"""Memory of a process and its children: measurement, limits, and leak detection."""

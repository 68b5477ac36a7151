"""The parts of the embedded broker: pinned jars, configuration, state on disk, launcher."""

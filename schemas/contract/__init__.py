"""Documents derived from the messages: JSON Schema, descriptions, examples."""

"""Documents generated from the message types: JSON Schema, descriptions, examples."""

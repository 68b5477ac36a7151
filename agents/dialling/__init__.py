"""In front of the network: ways out, breakers, turns, and who looks on."""

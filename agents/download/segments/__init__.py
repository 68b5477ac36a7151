"""Downloads of HLS and DASH tracks: manifest, keys and segments into one file."""

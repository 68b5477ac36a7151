"""Parsers of HLS playlists (RFC 8216) and DASH manifests (ISO/IEC 23009-1). Pure."""

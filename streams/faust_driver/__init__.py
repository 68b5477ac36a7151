"""Everything that touches Faust; nothing else imports it."""

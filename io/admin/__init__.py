"""The admin interface of a node, over HTTP: a translation, nothing decided here."""

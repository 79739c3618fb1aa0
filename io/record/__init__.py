"""Recordings of nodes: made, replayed, explained; see docs/recording.md."""

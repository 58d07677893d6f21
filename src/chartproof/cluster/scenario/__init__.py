"""Scenarios: what a release does under load on a live cluster, recorded, judged and shown."""

"""Load: real streaming requests, sent when a trace says so, each with a record of what became of it."""

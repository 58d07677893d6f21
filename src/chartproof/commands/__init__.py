"""The subcommands of `chartproof`, one module each.

A module has `add_parser(commands)`, which adds its parser and returns it, and `run(arguments)`, which
returns an ExitCode; a parser of its own subcommands may set another `run` as default. The name of
the module, with dashes for underscores, is the name of the command. Modules are imported at every
start, so they import what is heavy inside `run`.
"""

"""The rules: one file, one decorated function each; `registry` finds and runs them.

To add one: create `llm<number>_<bad_pattern>.py` here with one function under `@rule(...)`, its
fixtures under `tests/rules/LLM<number>/`, and run `make generate`.
"""

from chartproof.rules.registry import Context, Rule, all_rules, check_release, rule

__all__ = ["Context", "Rule", "all_rules", "check_release", "rule"]

"""Scaling-modifier formulas: the part of expr-lang v1.17.8 that KEDA formulas use, as KEDA runs it.

`compile_formula` accepts and refuses what KEDA's admission webhook and operator do, `Formula.run`
gives the value they would compute. Functions outside the numeric part of the language (dates,
regular expressions, JSON) are parsed and left unjudged.

Sources: expr-lang `parser`, `checker` and `vm` v1.17.8; KEDA v2.21.0
`apis/keda/v1alpha1/scaledobject_webhook.go` (wrapping, compile environment, dummy run).
"""

from chartproof.languages.formula.analysis import Bounds, additive_terms, bounds, divisions_by_zero, names
from chartproof.languages.formula.compiled import Formula, FormulaResult, compile_formula
from chartproof.languages.formula.syntax import FormulaError, Node, UnjudgedError, parse

__all__ = [
    "Bounds",
    "Formula",
    "FormulaError",
    "FormulaResult",
    "Node",
    "UnjudgedError",
    "additive_terms",
    "bounds",
    "compile_formula",
    "divisions_by_zero",
    "names",
    "parse",
]

"""A gap as a person reads it: a table in plain text, a dict for programs."""

from __future__ import annotations

import math
from typing import Any

from verax.ledger.chain import Gap
from verax.ledger.reading import Reading, format_number

__all__ = ["reading_dict", "table", "to_dict"]


def table(gap: Gap) -> str:
    """The gap as text: the two numbers, the causes between them, and the residual.

    The causes' changes add up to the gap; each line says what changed.
    """
    rows = [(gap.train.name, format_number(gap.train.value), str(gap.train.facts.rows))]
    for link in gap.links:
        noise = "" if math.isnan(link.stderr) else f" ± {link.stderr:.4f}"
        rows.append((f"  {link.cause.title}", f"{link.change:+.4f}{noise}", link.cause.sentence))
    rows.append((gap.validation.name, format_number(gap.validation.value), str(gap.validation.facts.rows)))
    rows.append(("  gap", f"{gap.total:+.4f}", f"residual {gap.residual:.1e}"))
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    return "\n".join(f"{name:<{widths[0]}}  {value:>{widths[1]}}  {words}".rstrip() for name, value, words in rows)


def reading_dict(reading: Reading) -> dict[str, Any]:
    """A reading as plain data."""
    facts = reading.facts
    return {
        "name": reading.name,
        "value": reading.value,
        "stderr": reading.stderr,
        "sum": reading.sum,
        "weight": reading.weight,
        "parts": {
            name: {"value": p.value, "coefficient": p.coefficient, "kind": p.kind} for name, p in reading.parts.items()
        },
        "facts": {
            **{k: getattr(facts, k) for k in ("objective", "params", "draws", "view", "weights", "average", "dtype")},
            "terms": list(facts.terms),
            "rows": str(facts.rows),
            "modes": [[m.effect, m.path, m.state, m.why] for m in facts.modes],
        },
        "sentence": str(reading),
    }


def to_dict(gap: Gap) -> dict[str, Any]:
    """A gap as plain data."""
    return {
        "train": reading_dict(gap.train),
        "validation": reading_dict(gap.validation),
        "total": gap.total,
        "residual": gap.residual,
        "links": [
            {"cause": link.cause.name, "fact": str(link.fact), "change": link.change, "sentence": link.cause.sentence}
            for link in gap.links
        ],
    }

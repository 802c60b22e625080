"""From one reading's facts to another's, a fact at a time, in one fixed order."""

from __future__ import annotations

from collections.abc import Callable

from verax.errors import ChainError
from verax.ledger.facts import Facts, LayerMode

__all__ = ["EFFECT_ORDER", "PLAIN_AVERAGE", "path"]

#: What an uneven average is made first, so that it can be compared with another one.
PLAIN_AVERAGE = "mean over rows"

#: In which order effects are switched from training to inference; custom ones stand before batch statistics.
EFFECT_ORDER = ("augmentation", "dropout", "noise", "stochastic_depth", "custom", "batch_statistics")


def path(start: Facts, end: Facts, *, reverse: bool = False) -> list[Facts]:
    """The facts of every reading of a chain from ``start`` to ``end``, both included.

    Each differs from the one before in exactly one fact; a fact that does not differ between the ends is never touched,
    but for what both ends must shed to be compared: penalties, the training objective and row weights are taken off at
    the start and put on again at the end, so that all between is measured on the plain loss. An uneven average (of
    batch means, of the last batch) is made even in the same way, and so is a part of the rows at the end that was
    chosen for a reason of its own.

    The order is that of the design: terms, objective, params, draws, view, modes (an effect at a time; batch statistics
    first to the population's, then to the moving averages), weights, average, averaged weights, dtype, rows. With
    ``reverse`` the effects are switched in the reverse order: amounts that differ then belong to two causes together.

    >>> start = Facts(params="each step's own", draws="as drawn")
    >>> [f.params for f in path(start, Facts(params="the end of epoch 1"))]
    ["each step's own", 'the end of epoch 1', 'the end of epoch 1']
    """
    steps = [start]

    def change(**facts: object) -> None:
        new = steps[-1].but(**facts)
        if new != steps[-1]:
            steps.append(new)

    tail: list[Callable[[], None]] = []
    if start.terms != end.terms or "penalties" in start.terms + end.terms:
        change(terms=tuple(t for t in start.terms if t != "penalties"))
        tail.append(lambda: change(terms=end.terms))
    if start.objective != end.objective:
        change(objective="plain")
        tail.append(lambda: change(objective=end.objective))
    change(params=end.params)
    if steps[-1].draws == "as drawn":
        change(draws="fresh")
    change(view=end.view)
    _modes(steps, end, reverse)
    if start.weights != end.weights:
        change(weights="none")
        tail.append(lambda: change(weights=end.weights))
    if end.even:
        change(average=end.average)
    else:
        if not start.even:
            change(average=PLAIN_AVERAGE)
        tail.append(lambda: change(average=end.average))
    change(averaged=end.averaged)
    change(dtype=end.dtype)
    whole = steps[-1].rows
    if end.rows.label != whole.label and whole.skipped:
        change(rows=whole.complete())
    if end.rows.label != whole.label and end.rows.part:
        change(rows=end.rows.complete())
    change(rows=end.rows)
    for last in reversed(tail):
        last()
    if steps[-1].differences(end):
        raise ChainError(
            "A path between two readings was to be found.",
            received="; ".join(str(c) for c in steps[-1].differences(end)),
            because="the order of facts does not reach it",
        )
    if len(steps) > 1:
        steps[-1] = end
    return steps


def _kind(effect: str) -> str:
    return "custom" if effect.startswith("custom:") else effect


def _modes(steps: list[Facts], end: Facts, reverse: bool) -> None:
    """Switch effects one at a time to what they are at the end."""
    target = {(m.effect, m.path): m for m in end.modes}
    effects = sorted(
        {m.effect for m in (*steps[-1].modes, *end.modes)},
        key=lambda e: (EFFECT_ORDER.index(_kind(e)) if _kind(e) in EFFECT_ORDER else -1, e),
        reverse=reverse,
    )
    for effect in effects:
        now = steps[-1].modes
        after = tuple(sorted(target.get((m.effect, m.path), m) if m.effect == effect else m for m in now))
        if {(m.path, m.state) for m in now if m.effect == effect} == {
            (m.path, m.state) for m in after if m.effect == effect
        }:
            continue
        if effect == "batch_statistics" and _from_batch_to_moving(now, after):
            through = tuple(
                sorted(
                    LayerMode(m.effect, m.path, "population", m.why)
                    if m.effect == effect and m.state == "train" and target[m.effect, m.path].state == "infer"
                    else m
                    for m in now
                )
            )
            steps.append(_undrawn(steps[-1].but(modes=through)))
        steps.append(_undrawn(steps[-1].but(modes=after)))


def _undrawn(facts: Facts) -> Facts:
    """Without draws, when nothing that could draw is in training mode any more."""
    draws = any(m.state == "train" and m.effect != "batch_statistics" for m in facts.modes)
    return facts if draws or facts.draws != "fresh" else facts.but(draws="none")


def _from_batch_to_moving(now: tuple[LayerMode, ...], after: tuple[LayerMode, ...]) -> bool:
    states = {m.path: m.state for m in after if m.effect == "batch_statistics"}
    return any(m.state == "train" and states.get(m.path) == "infer" for m in now if m.effect == "batch_statistics")

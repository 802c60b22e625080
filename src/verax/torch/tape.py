"""A tape of what a loop does between its batches and its loss, so that a step can be run again as it was written.

While a watch is on, every torch function that the loop calls outside of the model, and every call of the model, is
noted in order. When the loop calls ``backward``, what led to the loss is cut out of the notes; the rest is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from verax.torch.leaves import Constant, Parameter, Ref, leaves, mapped
from verax.torch.state import version_of
from verax.torch.terms import QUOTIENTS, SAME, Node, Term, is_sum, needed_by, terms_of

__all__ = ["DRAWS", "Recording", "Tape", "signature_of"]

_COPIES = frozenset({"clone", "contiguous"})
#: More notes than this are of no step that ends: what is oldest is forgotten.
_LIMIT = 4096

#: Functions whose results are drawn at random.
DRAWS = frozenset(
    [
        "rand",
        "randn",
        "randint",
        "randperm",
        "rand_like",
        "randn_like",
        "randint_like",
        "bernoulli",
        "normal",
        "multinomial",
        "poisson",
        "dropout",
        "alpha_dropout",
        "feature_alpha_dropout",
        "feature_dropout",
        "dropout1d",
        "dropout2d",
        "dropout3d",
        "rrelu",
        "gumbel_softmax",
        "bernoulli_",
        "normal_",
        "uniform_",
        "random_",
        "exponential_",
        "cauchy_",
        "geometric_",
        "log_normal_",
        "dropout_",
        "scaled_dot_product_attention",
        "multi_head_attention_forward",
    ]
)


@dataclass
class Recording:
    """A step that can be run again: the calls that lead from batch and weights to the loss.

    Attributes:
        nodes: The calls, in order.
        loss: The tensor that was called the loss.
        shown: The tensor whose value the loop showed: the loss, or what it is a multiple of.
        broken: Why it cannot be run again, in words; "" where it can.
        rows: How many rows the batch has.
        flags: path -> ``training`` of each module as it ran; empty where it was not noted.
        others: The state of numpy's and Python's random generators as it began; None where it was not noted.
        origin: The place on the tape of each call.
        unseen: A tensor of the batch, in words, that is not as its loader gave it; "" where there is none.
        primary: Which of the summands that the model's output is in is meant by "the loss".
        scale: What the loop multiplies it with where it shows it.
    """

    nodes: list[Node]
    loss: Ref
    shown: Ref
    broken: str = ""
    rows: int = 0
    flags: Mapping[str, bool] = field(default_factory=dict[str, bool])
    others: Any = None
    origin: Sequence[int] = ()
    primary: int = 0
    unseen: str = ""
    scale: float = 1.0

    @property
    def terms(self) -> list[Term]:
        """The summands of what was shown."""
        return terms_of(self.nodes, self.shown, self.scale, rows=self.rows)

    @property
    def sums(self) -> bool:
        """Whether the loss is a sum over the rows of its batch, and not their mean."""
        return self.main is not None and is_sum(self.nodes, self.main.ref)

    @property
    def signature(self) -> tuple[str, ...]:
        """The names of the calls from the model on: equal for two steps of one loop, however batches are prepared."""
        return signature_of(self.nodes)

    @property
    def counted(self) -> bool:
        """Whether the loss is divided by a count that came from outside: of what a whole step has, not this batch."""
        main = self.main
        nodes = [node for node in self.cut(main.ref)[0] if not node.module] if main is not None else []
        return any(c.tensor.ndim == 0 for node in nodes for c in leaves((node.args, node.kwargs), Constant))

    def divided(self, ref: Ref) -> bool:
        """Whether a tensor is another one divided by a plain number."""
        node = self.nodes[ref.node]
        return not node.module and node.name.strip("_") in QUOTIENTS and isinstance(node.args[1], (int, float))

    def constants(self) -> list[Constant]:
        """What came from outside, in the order in which it is first used; each once."""
        found: dict[int, Constant] = {}
        for node in self.nodes:
            for leaf in leaves((node.args, node.kwargs), Constant):
                found.setdefault(id(leaf.tensor), leaf)
        return list(found.values())

    @property
    def data(self) -> list[Term]:
        """The summands that the model's output is in; the one that is meant by "the loss" first."""
        data = [term for term in self.terms if term.kind == "data"]
        first = data[self.primary : self.primary + 1]
        return [*first, *(term for term in data if term not in first)]

    @property
    def main(self) -> Term | None:
        """The summand that is meant by "the loss"."""
        return next(iter(self.data), None)

    def cut(self, ref: Ref) -> tuple[list[Node], Ref]:
        """The calls that one tensor needs, and its place among them."""
        wanted = needed_by(self.nodes, ref.node)
        places = {old: new for new, old in enumerate(wanted)}
        moved = lambda r: Ref(places[r.node], r.leaf)  # noqa: E731
        nodes = [_with(self.nodes[old], lambda leaf: moved(leaf) if isinstance(leaf, Ref) else leaf) for old in wanted]
        return nodes, moved(ref)


class Tape:
    """The notes of the step that is under way."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._maker: dict[int, Ref] = {}
        self._calls = 0
        self._were: dict[int, tuple[torch.Tensor, int, torch.Tensor]] = {}

    def from_outside(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor is a batch as it was given, or a slice of something that was."""
        ref = self.ref(tensor)
        return ref is None or self.nodes[ref.node].name == "__getitem__"

    def written(self, tensor: torch.Tensor) -> torch.Tensor:
        """A copy of a tensor that is about to be written over, which stands for it in what was noted before."""
        copy = tensor.detach().clone()
        self._were.setdefault(id(tensor), (tensor, len(self.nodes), copy))
        return copy

    def note(self, node: Node) -> None:
        """Add a call, if it gave back tensors."""
        made = node.made
        if not made or (node.name in SAME and node.args and made[0] is node.args[0]):
            return  # nothing, or what was there before: x.to(device) on that device
        place = len(self.nodes)
        self.nodes.append(node)
        for leaf, tensor in enumerate(made):
            self._maker[id(tensor)] = Ref(place, leaf)
        self._calls += node.module
        if place >= _LIMIT or self._calls > 16:
            self.forget(place // 2 + 1)

    def ref(self, tensor: torch.Tensor) -> Ref | None:
        """Which note made a tensor; None where none did."""
        ref = self._maker.get(id(tensor))
        if ref is None or (made := self.nodes[ref.node].made) is None or made[ref.leaf] is not tensor:
            return None
        if isinstance(tensor, torch.nn.Parameter):  # an optimizer's writing into it made it not
            return None
        return ref

    def value(self, ref: Ref) -> torch.Tensor:
        """The tensor of a place."""
        made = self.nodes[ref.node].made
        assert made is not None
        return made[ref.leaf]

    def forget(self, upto: int | None = None) -> None:
        """Forget the first notes; all when None."""
        rest = [] if upto is None else self.nodes[upto:]
        self.nodes, self._maker, self._calls, self._were = [], {}, 0, {}
        for node in rest:
            self.note(node)

    def record(self, loss: Ref) -> Recording:
        """What led to a tensor, cut out: intermediate tensors are dropped, what came from outside is kept.

        A batch that was taken out of a larger tensor came from outside.
        """
        wanted = self._needed(loss.node)
        places = {old: new for new, old in enumerate(wanted)}
        broken: list[str] = []
        outside: dict[int, Constant] = {}

        def cut(tensor: Any, at: int) -> Any:
            if not isinstance(tensor, torch.Tensor):
                return tensor
            was, until, copy = self._were.get(id(tensor), (None, 0, tensor))
            if was is tensor and at < until:
                tensor = copy
            ref = self._before(tensor, at)
            if ref is not None and ref.node in places:
                return Ref(places[ref.node], ref.leaf)
            if tensor.requires_grad and tensor.is_leaf:
                return Parameter(tensor)
            if tensor.grad_fn is not None and any(made.requires_grad for made in self.nodes[at].made or ()):
                broken.append(
                    f"{self.nodes[at].name} takes a tensor that was made by {tensor.grad_fn.name()} out of sight"
                )
            if id(tensor) not in outside:  # a number is kept as it is now, whatever is written into it later
                own = tensor.detach() if tensor.ndim else tensor.detach().clone()
                outside[id(tensor)] = Constant(own, version_of(tensor))
            return outside[id(tensor)]

        nodes = [_with(self.nodes[old], lambda leaf, at=old: cut(leaf, at)) for old in wanted]
        ref = Ref(places[loss.node], loss.leaf)
        return Recording(nodes, ref, ref, broken[0] if broken else "", origin=wanted)

    def rows(self, places: Sequence[int] | None = None) -> int:
        """Rows in a batch: the first axis of the first tensor that the model is given.

        Args:
            places: Of which notes; all when None.
        """
        nodes = self.nodes if places is None else [self.nodes[place] for place in places]
        for node in [*(n for n in nodes if n.module), *nodes]:
            for tensor in leaves((node.args, node.kwargs)):
                if tensor.ndim:
                    return int(tensor.shape[0])
        return 1

    def _before(self, tensor: torch.Tensor, at: int) -> Ref | None:
        """The last note before ``at`` that made a tensor, or changed it in place."""
        ref = self.ref(tensor)
        if ref is None or ref.node < at:
            return ref
        for place in range(at - 1, -1, -1):
            for leaf, made in enumerate(self.nodes[place].made or ()):
                if made is tensor:
                    return Ref(place, leaf)
        return None

    def _needed(self, last: int) -> list[int]:
        """The notes that a note needs; a batch is not traced further back than to where it has its size."""
        rows = self.rows()
        wanted, given = self._walk(last, rows, made=False)
        if not given:  # nothing came from outside: what the loop made is the batch
            wanted, _ = self._walk(last, rows, made=True)
        return sorted(wanted)

    def _walk(self, last: int, rows: int, *, made: bool) -> tuple[set[int], bool]:
        """The notes that a note needs, and whether a batch came from outside of them."""
        wanted, waiting, given = {last}, [last], False
        while waiting:
            at = waiting.pop()
            for tensor in leaves((self.nodes[at].args, self.nodes[at].kwargs)):
                ref = self._before(tensor, at)
                if ref is None or self._taken(tensor, ref.node, rows) or (made and self._made(ref.node)):
                    given = given or (tensor.shape[:1] == (rows,) and not tensor.requires_grad)
                elif ref.node not in wanted:
                    wanted.add(ref.node)
                    waiting.append(ref.node)
        return wanted, given

    def _made(self, place: int) -> bool:
        """Whether a note makes tensors out of nothing: it draws or fills them."""
        node = self.nodes[place]
        return not node.module and not leaves((node.args, node.kwargs))

    def _taken(self, tensor: torch.Tensor, place: int, rows: int) -> bool:
        """Whether a note takes a batch out of something that has another number of rows, or makes a number of no batch,
        as the scale of a gradient scaler."""
        node = self.nodes[place]
        if tensor.ndim == 0 and not tensor.requires_grad:
            return not self._varies(place, rows)
        if tensor.requires_grad or node.module or tensor.shape[:1] != (rows,):
            return False
        return any(t.ndim and t.shape[0] != rows for t in leaves((node.args, node.kwargs)))

    def _varies(self, place: int, rows: int) -> bool:
        """Whether a note, or one that it needs, is a call of the model or is given weights or rows of a batch."""
        waiting, seen = [place], set[int]()
        while waiting:
            at = waiting.pop()
            seen.add(at)
            node = self.nodes[at]
            given = list(leaves((node.args, node.kwargs)))
            if node.module or any(t.shape[:1] == (rows,) or (t.requires_grad and t.is_leaf) for t in given):
                return True
            refs = [self._before(t, at) for t in given]
            waiting += [r.node for r in refs if r is not None and r.node not in seen]
        return False

    def scalars(self, after: int = 0) -> Iterator[tuple[Ref, torch.Tensor]]:
        """Every single floating number that was made, in order."""
        for place in range(after, len(self.nodes)):
            for leaf, tensor in enumerate(self.nodes[place].made or ()):
                if tensor.ndim == 0 and tensor.is_floating_point():
                    yield Ref(place, leaf), tensor


def signature_of(nodes: Sequence[Node]) -> tuple[str, ...]:
    """The names of the calls that the model's output is in; copies, which wrappers make in training alone, aside."""
    after: set[int] = set()
    for place, node in enumerate(nodes):
        if node.module or any(ref.node in after for ref in leaves((node.args, node.kwargs), Ref)):
            after.add(place)
    return tuple("model" if n.module else n.name for n in (nodes[i] for i in sorted(after)) if n.name not in _COPIES)


def _with(node: Node, change: Callable[[Any], Any]) -> Node:
    return Node(
        node.call, mapped(node.args, change), mapped(node.kwargs, change), None, node.name, node.module, node.draws,
        node.autocast,
    )  # fmt: skip

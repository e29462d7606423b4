"""Answers that must follow a grammar: a JSON schema, a regular expression or a Lark grammar.

The grammar is compiled by `llguidance`. Before each token it says which ids may come
next; where only one text may come, it gives the tokens outright and the network reads
them in one pass. What an answer cannot end with, it does not end with: only `max_tokens`
can cut one off, and the answer's warning then says that it is not whole.

Legend: V vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from osler.errors import RequestError
from osler.extras import import_extra

if TYPE_CHECKING:
    import torch

    from osler.weights.tokenizer import GemmaTokenizer

MOST_CHARACTERS = 200_000
"""Longest schema, expression or grammar."""
Forced = Literal["together", "singly"]


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """The answer is one JSON value that fulfills a schema, written without spaces.

    Bound every text and list (``maxLength``, ``maxItems``): an answer may otherwise go on until `max_tokens`.

    Args:
        schema: JSON Schema (2020-12, as far as `llguidance` knows it; a keyword it does not know is refused).

    Example:
        >>> JsonSchema({"enum": ["yes", "no"]}).kind
        'JSON schema'
    """

    schema: Mapping[str, Any]
    kind: str = "JSON schema"

    def text(self) -> str:
        """The schema as JSON.

        Raises:
            RequestError: If it is not JSON.
        """
        if not isinstance(self.schema, Mapping):
            raise RequestError(f"The JSON schema is {self.schema!r:.80}.", allowed="An object with keywords.")
        try:
            return json.dumps(self.schema, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise RequestError(
                f"The JSON schema is not JSON: {error}.", allowed="Dicts, lists, texts, numbers."
            ) from error


@dataclass(frozen=True, slots=True)
class Regex:
    """The answer matches a regular expression from its first to its last character."""

    pattern: str
    kind: str = "regular expression"

    def text(self) -> str:
        """The expression."""
        return self.pattern


@dataclass(frozen=True, slots=True)
class Lark:
    """The answer is a sentence of a Lark grammar with the rule ``start``, in `llguidance`'s dialect."""

    grammar: str
    kind: str = "Lark grammar"

    def text(self) -> str:
        """The grammar."""
        return self.grammar


Constraint = JsonSchema | Regex | Lark


class Grammars:
    """Compiles constraints for one tokenizer, whose tables it builds once, at the first constraint.

    Args:
        tokenizer: Of the model.
        vocab: Logits of the network, which may be more than the tokenizer has pieces.
        ends: Ids that end an answer, the usual one first.
    """

    def __init__(self, tokenizer: GemmaTokenizer, *, vocab: int, ends: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._vocab = vocab
        self._ends = tuple(ends)
        self._tables: Any = None

    def start(self, constraint: Constraint, *, stop: Sequence[str] = (), forced: Forced = "together") -> Rule:
        """Compiles a constraint, for one answer.

        Args:
            constraint: What the answer must follow.
            stop: Stop strings of the request; none are allowed, since they could end an answer anywhere.
            forced: Read forced tokens in one pass, or one by one (which gives the same and takes longer).

        Raises:
            RequestError: If the constraint is too large, does not parse, has no answer, or `llguidance` is missing.
        """
        if stop:
            raise RequestError(
                f"A {constraint.kind} together with stop strings, which could cut the answer anywhere.",
                allowed="One of the two.",
                next_step="Put the end of the answer into the constraint.",
            )
        guidance = import_extra("llguidance", extra="structured")
        text = constraint.text()
        if len(text) > MOST_CHARACTERS:
            raise RequestError(
                f"The {constraint.kind} has {len(text):,} characters.",
                allowed=f"At most {MOST_CHARACTERS:,}.",
                next_step="Ask in several steps, each with a part of it.",
            )
        limits = guidance.LLParserLimits(verbose_errors=False)
        matcher = guidance.LLMatcher(
            self._built(guidance), _grammar(guidance, constraint, text), log_level=0, limits=limits
        )
        rule = Rule(matcher, vocab=self._vocab, ends=self._ends, forced=forced, kind=constraint.kind)
        rule.require_sound()
        return rule

    def _built(self, guidance: Any) -> Any:
        if self._tables is None:
            pieces = guidance.TokenizerWrapper(_Pieces(self._tokenizer, ends=self._ends))
            self._tables = guidance.LLTokenizer(pieces, n_vocab=self._vocab, eos_token=list(self._ends))
        return self._tables


class Rule:
    """What one answer may still say; `take` each of its tokens in turn."""

    def __init__(self, matcher: Any, *, vocab: int, ends: Sequence[int], forced: Forced, kind: str) -> None:
        self._matcher = matcher
        self._vocab = vocab
        self._ends = frozenset(ends)
        self.kind = kind
        self.forced = forced

    def require_sound(self) -> None:
        """Checks that the grammar compiled and has an answer.

        Raises:
            RequestError: If not.
        """
        matcher = self._matcher
        if not matcher.is_error() and (matcher.is_accepting() or self.allowed().any()):
            return
        lines = matcher.get_error().strip().splitlines()
        reason = lines[0][:200].rstrip(".") if lines else "no answer fulfills it"
        raise RequestError(
            f"The {self.kind} cannot be followed: {reason}.",
            allowed="A sound one of which an answer exists.",
            next_step="Correct or simplify it.",
        )

    @property
    def ended(self) -> bool:
        """Whether nothing can follow: the answer is whole."""
        return self._matcher.is_stopped()

    @property
    def whole(self) -> bool:
        """Whether the answer may end here."""
        return self._matcher.is_accepting()

    def allowed(self) -> np.ndarray:
        """Which ids may come next, bool (V,); where the text is forced, its one next token."""
        ahead = self._matcher.compute_ff_tokens()
        if ahead:
            alone = np.zeros(self._vocab, dtype=bool)
            alone[ahead[0]] = True
            return alone
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        return np.unpackbits(bits, bitorder="little")[: self._vocab].astype(bool)

    def take(self, token: int) -> None:
        """Goes on by a token that was allowed.

        Raises:
            RequestError: If the grammar has become too complex to go on.
        """
        if token in self._ends or self._matcher.consume_token(token):
            return
        lines = self._matcher.get_error().strip().splitlines() or ["it does not fit"]
        raise RequestError(
            f"The {self.kind} cannot be followed any further: {lines[0][:200].rstrip('.')}.",
            next_step="Simplify it.",
        )

    def ahead(self) -> list[int]:
        """The tokens that must follow now, whatever the network says; none with ``forced="singly"``."""
        return list(self._matcher.compute_ff_tokens()) if self.forced == "together" else []


def mask_logits(logits_BV: torch.Tensor, *, rules: Sequence[Rule | None], open_rows: Iterable[int]) -> None:
    """Sets the logits of ids that a row's rule does not allow to minus infinity, in place."""
    import torch

    if not any(rules):
        return
    with torch.inference_mode():
        for row in open_rows:
            rule = rules[row]
            if rule is not None:
                barred_V = torch.from_numpy(~rule.allowed()).to(logits_BV.device)
                logits_BV[row].masked_fill_(barred_V, float("-inf"))


class _Pieces:
    """The vocabulary as `llguidance` wants it: the bytes of each id, and a way to split text."""

    def __init__(self, tokenizer: GemmaTokenizer, *, ends: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self.eos_token_id = ends[0]
        self.bos_token_id = None
        count = len(tokenizer)
        self.tokens = [tokenizer.bytes_of(token) for token in range(count)]
        self.special_token_ids = [token for token in range(count) if tokenizer.is_control(token)]

    def __call__(self, text: str) -> list[int]:
        return self._tokenizer.encode(text)


def _grammar(guidance: Any, constraint: Constraint, text: str) -> str:
    matcher = guidance.LLMatcher
    if isinstance(constraint, Regex):
        return matcher.grammar_from_regex(text)
    if isinstance(constraint, Lark):
        return matcher.grammar_from_lark(text)
    # Spaces between tokens of JSON would let a network write spaces until it is cut off.
    return matcher.grammar_from_json_schema(text, overrides={"whitespace_flexible": False})

"""What a run of the demo measured, and which of it must hold. Plain data: run.py makes it, report.py shows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from partage.demo.figures import Spread
from partage.demo.samples.returns import Medium, Value
from partage.demo.status import ClientState, Resident

SCANNED_EXACT = 0.95
"""The share of the fields on scanned paper that must be read exactly; on paper with a text layer it is all of them."""


class Verdict(StrEnum):
    EXACT = "exact"
    WRONG = "wrong"
    MISSING = "missing"
    """It is on the paper and was not read."""
    INVENTED = "invented"
    """It is not on the paper and was read nevertheless."""
    ABSENT = "absent"
    """It is not on the paper and was not read: right."""


@dataclass(frozen=True, slots=True)
class PageRead:
    number: int
    method: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldRead:
    field: str
    read: Value
    truth: Value
    verdict: Verdict
    page: int | None = None
    confidence: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentOutcome:
    name: str
    kind: Medium
    pages: tuple[PageRead, ...] = ()
    fields: tuple[FieldRead, ...] = ()
    seconds: float
    """From sending the file to having the answer, the waiting included."""
    error: str | None = None

    def count(self, *verdicts: Verdict) -> int:
        return sum(field.verdict in verdicts for field in self.fields)

    def problems(self) -> Iterator[str]:
        if self.error is not None:
            yield f"{self.name}: not processed: {self.error}"
        elif self.kind == "text":
            for field in self.fields:
                if field.verdict not in (Verdict.EXACT, Verdict.ABSENT):
                    yield f"{self.name}: {field.field} is {field.verdict}: read {field.read!r}, printed {field.truth!r}"

    @property
    def page_s(self) -> float | None:
        return sum(page.seconds for page in self.pages) / len(self.pages) if self.pages else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One question to the chat model and its answer, timed by the client."""

    question: str
    answer: str = ""
    ttft_s: float = 0.0
    seconds: float = 0.0
    output_tokens: int = 0
    error: str | None = None

    @property
    def tokens_per_s(self) -> float | None:
        """While the answer was coming in, the wait for the first token not counted."""
        coming_s = self.seconds - self.ttft_s
        return (self.output_tokens - 1) / coming_s if self.output_tokens > 1 and coming_s > 0 else None

    @property
    def problem(self) -> str | None:
        if self.error is None and self.answer.strip():
            return None
        return f"{self.error or 'an empty answer'} ({self.question})"


@dataclass(frozen=True, slots=True)
class Citation:
    document: str
    page: int | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionOutcome:
    question: str
    expected: str
    """Document and page that must be cited."""
    answer: str = ""
    citations: tuple[Citation, ...] = ()
    cited: bool = False
    answered: bool = False
    """The fact is in the answer."""
    seconds: float = 0.0
    error: str | None = None

    @property
    def problem(self) -> str | None:
        if self.error is not None:
            return f"question failed: {self.error} ({self.question})"
        if not self.cited:
            return f"question without the right citation, {self.expected}: {self.question}"
        return None if self.answered else f"question without the fact in its answer: {self.question}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePeak:
    device: str
    name: str
    peak_bytes: int | None
    budget_bytes: int | None

    @property
    def problem(self) -> str | None:
        if self.budget_bytes is None or self.peak_bytes is None or self.peak_bytes <= self.budget_bytes:
            return None
        return f"{self.device}: models held {self.peak_bytes} bytes, over the budget of {self.budget_bytes}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    seconds: float
    chat_model: str
    chat_alone: tuple[Turn, ...]
    chat_beside: tuple[Turn, ...]
    """While documents were processed."""
    documents: tuple[DocumentOutcome, ...]
    documents_s: float
    """From the first document sent to the last one read."""
    indexed: int
    """Documents that the RAG service took."""
    questions: tuple[QuestionOutcome, ...]
    residents: tuple[Resident, ...]
    clients: tuple[ClientState, ...]
    devices: tuple[DevicePeak, ...]
    errors: tuple[str, ...] = ()
    """What failed outside of a document, a turn or a question."""

    @property
    def problems(self) -> tuple[str, ...]:
        """Whatever must hold and does not, in words."""
        return tuple(self._problems())

    @property
    def exit_code(self) -> int:
        return int(bool(self.problems))

    def _problems(self) -> Iterator[str]:
        yield from self.errors
        for document in self.documents:
            yield from document.problems()
        scanned = exact_share(self.documents, scanned=True)
        if scanned is not None and scanned < SCANNED_EXACT:
            yield f"scanned documents: {scanned:.1%} of the fields are exact, not {SCANNED_EXACT:.0%}"
        for phase, turns in (("alone", self.chat_alone), ("beside documents", self.chat_beside)):
            if not turns:
                yield f"chat {phase}: no turn was held"
            yield from (f"chat {phase}: {turn.problem}" for turn in turns if turn.problem)
        yield from (question.problem for question in self.questions if question.problem)
        yield from (device.problem for device in self.devices if device.problem)


def exact_share(documents: tuple[DocumentOutcome, ...], *, scanned: bool) -> float | None:
    """Exactly read of all that is on the paper or was read; None without such documents."""
    chosen = [document for document in documents if (document.kind != "text") == scanned]
    exact = sum(document.count(Verdict.EXACT) for document in chosen)
    wrong = sum(document.count(Verdict.WRONG, Verdict.MISSING, Verdict.INVENTED) for document in chosen)
    return exact / (exact + wrong) if exact + wrong else None


def ttft(turns: tuple[Turn, ...]) -> Spread | None:
    return Spread.of(turn.ttft_s for turn in turns if turn.error is None)


def speed(turns: tuple[Turn, ...]) -> Spread | None:
    return Spread.of(turn.tokens_per_s for turn in turns if turn.tokens_per_s is not None)

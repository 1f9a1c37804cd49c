"""What the engine remembers of a person in words: kept with where it came from, corrected by what is said later, recalled when it matters."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sartor.engine.ids import Id, person_id
from sartor.engine.memory_keeping import Keeping, Remembered
from sartor.engine.memory_reading import CONFIRM, Confirm, checked_id, checked_kind, from_messages, made, stated
from sartor.engine.memory_shelf import PURPOSE, record_id
from sartor.engine.records import seconds
from sartor.errors import ConfigError, UnknownId, WrongType
from sartor.profile.append import sortable_id
from sartor.write.memory import Extractor, LeadingSummary, Memory, Recalled, RuleExtractor, Summariser, formats
from sartor.write.memory.records import Kind, checked_polarity, checked_text


@dataclass(frozen=True)
class Recollection:
    """What was recalled for a question."""

    person: str
    query: str
    memories: list[Recalled]
    fallback: str | None
    """Why there is nothing: "no consent", "nothing remembered"."""
    seconds: float


class Remembering(Keeping):
    """The half of `Engine` that remembers."""

    def remember(
        self,
        person: Id,
        what: str | Sequence[str | Mapping[str, Any]],
        *,
        kind: Kind | None = None,
        id: str | None = None,
        time: Any = None,
        recalled: Sequence[str] = (),
        confirm: Confirm = "inferred",
        extractor: Extractor | None = None,
        source: str = "python",
    ) -> Remembered:
        """Keep what a person says; durable before this returns. Said again, it changes nothing; what it contradicts becomes history.

        Parameters
        ----------
        what: a sentence to be kept as it is; or messages, as texts or as dicts of a chat ({"role", "content"}, maybe "id" and "time"), out of
            which the statements of the user about herself are taken.
        kind: of a sentence that is kept as it is; None looks: a like or dislike is a preference, the rest facts. "message" keeps messages whole.
        id: of the sentence or of this call: the same id again adds nothing.
        time: when it was said; None is now.
        recalled: ids of memories that were in front of the speaker: what only repeats their words is no evidence.
        confirm: which extracted memories wait for the person's word: "never", "inferred" (unless she said it plainly herself), "always".
        extractor: what takes statements out of messages; None is the rules, which need no language model.

        Raises `NoConsent` when the person does not allow "write", `BadValue`, `WrongType` and `TooLarge` with the message.
        """
        who = person_id(person)
        if confirm not in CONFIRM:
            raise ConfigError(f"confirm is {confirm!r}", fix=f"use one of {', '.join(CONFIRM)}")
        checked_kind(kind)
        if id is not None:
            checked_id(id)
        if isinstance(recalled, str):
            raise WrongType("recalled is a single text", fix="give a list of ids")
        for one in recalled:
            checked_id(one)
        now = _now()
        said = now if time is None else seconds(time) or 0.0
        if isinstance(what, str):
            new = [stated(checked_text(what), kind, id or sortable_id(now), said, source, tuple(recalled))]
        else:
            words = [one.text for one in self._some(who, recalled)]
            new = from_messages(what, kind, id, said, words, tuple(recalled), confirm, extractor or RuleExtractor(), source)
        return self._keep(who, new)

    def memories(self, person: Id, *, kind: Kind | None = None, history: bool = False, waiting: bool | None = None) -> list[Memory]:
        """What is remembered of a person, newest first: for herself, so whatever she allows.

        Parameters
        ----------
        kind: only these.
        history: also those that no longer hold.
        waiting: only those that wait for confirmation (True), or only the others (False).
        """
        who = person_id(person)
        checked_kind(kind)
        with self._memories.shelves.door(self.tenant, who):
            found = self._memories.shelves.of(self.tenant, who, purpose=None)[0].current()
        now = _now()
        return sorted(
            (
                one
                for one in found
                if (kind is None or one.kind == kind)
                and (history or one.valid_to is None or one.valid_to > now)
                and (waiting is None or one.confirmed is not waiting)
            ),
            key=lambda one: -one.time,
        )

    def recall(self, person: Id, query: str, k: int = 5, *, budget_tokens: int | None = None) -> Recollection:
        """The k memories that matter most for a question, each with what made it matter.

        Without the person's consent to "write", and for somebody unknown, there are none, and `fallback` says why. Memories that wait for
        confirmation and those that no longer hold are never recalled.

        Raises `BadValue` for an empty query, `TooLarge` for one that is a document, `ConfigError` for a k or a budget below 1.
        """
        start, who = time.perf_counter(), person_id(person)
        recall = self._memories.recall
        vector = recall.query_vector(checked_text(query, "query"))
        with self._memories.shelves.door(self.tenant, who):
            shelf, allowed = self._memories.shelves.of(self.tenant, who, purpose=PURPOSE)
            self._memories.shelves.read_some(shelf, query)
            found = recall.recall(query, shelf.index, k, budget_tokens=budget_tokens, vector=vector)
        fallback = "no consent" if not allowed else None if len(shelf.rows) else "nothing remembered"
        return Recollection(who, query, found, fallback, time.perf_counter() - start)

    def edit_memory(self, person: Id, memory: str, text: str | None = None, *, polarity: float | None = None) -> Memory:
        """Correct a memory in the person's own words; what it said before stays in its history. The person has said it, so it is confirmed.

        Raises `UnknownId`, `BadValue`, `TooLarge`, and `Conflict` when somebody else has changed it in the meantime.
        """
        words, sign = None if text is None else checked_text(text), None if polarity is None else checked_polarity(polarity)

        def corrected(old: Memory) -> Memory:
            new = old
            if words is not None:
                new, _ = stated(words, "message" if old.kind == "message" else None, old.id, old.time, old.source, ())
            # What she corrects holds from now on, whatever was said in between.
            new = replace(new, polarity=new.polarity if sign is None else sign, confirmed=True, valid_from=_now())
            return replace(new, made_from=old.made_from, version=old.version + 1, change="edited")

        return self._change(person_id(person), memory, corrected)

    def confirm(self, person: Id, memory: str, right: bool = True) -> Memory | None:
        """The person says that a memory is right, and from now on it is used; or wrong, and it is deleted for good (None)."""
        who = person_id(person)
        if not right:
            self.forget_memory(who, memory)
            return None
        now = _now()
        return self._change(
            who, memory,
            lambda old: None if old.confirmed else replace(old, confirmed=True, valid_from=now, version=old.version + 1, change="confirmed"),
        )  # fmt: skip

    def forget_memory(self, person: Id, *memories: str) -> int:
        """Really delete memories, all their versions, and the summaries that were made from them. Returns how many memories went."""
        who = person_id(person)
        for one in memories:
            checked_id(one)
        gone: set[str] = set()
        while True:
            with self._memories.shelves.door(self.tenant, who):
                shelf, _ = self._memories.shelves.of(self.tenant, who, purpose=None)
                there = {one for one in (*memories, *gone) if shelf.get(one) is not None}
                if missing := set(memories) - there - gone:
                    raise UnknownId("there is no such memory", id=repr(sorted(missing)[0]), fix="memories() lists them")
                # Another process may have kept a version after these were read; one that comes later finds that they are gone, and keeps nothing.
                if not there:
                    break
                gone |= there
                while more := {one.id for one in shelf.current() if one.id not in gone and gone & set(one.made_from)}:
                    gone |= more
                self.store.remove(self.tenant, who, [record_id(one.id, one.version) for ident in gone for one in shelf.versions.get(ident, ())])
                self._memories.shelves.drop(self.tenant, who)
        self._wake()
        return len(gone)

    def memory_history(self, person: Id, memory: str) -> list[Memory]:
        """All versions of a memory, newest first."""
        who = person_id(person)
        with self._memories.shelves.door(self.tenant, who):
            shelf, _ = self._known(who, memory)
            return shelf.versions[memory][::-1]

    def summarise(self, person: Id, summariser: Summariser | None = None) -> Memory:
        """Keep a short text of what holds now, with the memories it was made from; it goes when one of them is deleted.

        Raises `NoConsent`, and `EmptyData` when there is nothing to summarise.
        """
        who, by, now = person_id(person), summariser or LeadingSummary(), _now()
        with self._memories.shelves.door(self.tenant, who):
            text, sources = by.summarise([one for one in self._shelf_for_writing(who).current() if one.holds(now) and one.kind != "summary"])
        # One summary of a kind holds at a time: an older one is replaced.
        new = Memory(sortable_id(now), checked_text(text), now, "summary", source=f"summary:{by.name}", subject=f"summary {by.name}", value=text)
        kept = self._keep(who, [(replace(new, made_from=sources), False)])
        return (kept.added or kept.known)[0]

    def import_memories(
        self, person: Id, data: str | bytes | Any, form: str | None = None, *, confirm: Confirm = "inferred", source: str = "import"
    ) -> Remembered:  # fmt: skip
        """Take memories of mem0 or a ChatGPT export in; everything is checked before anything is kept, and again it adds nothing.

        Of a ChatGPT export, memories that the assistant saved wait for confirmation; the person's own messages are read for statements.
        """
        read = formats.read(data, form)
        who = person_id(person)
        extractor = RuleExtractor()
        new: list[tuple[Memory, bool]] = []
        for one in read.memories:
            plain = one.subject is None and one.kind == "fact"
            # What comes without a sign of its own is looked at as if she had said it.
            signed, ended = stated(one.text, None, one.id, one.time, one.source, ()) if plain else (one, False)
            kept = replace(signed, valid_to=one.valid_to, confirmed=confirm == "never" or (one.confirmed and confirm != "always"))
            new.append((replace(kept, source=f"{source}:{one.source}"), ended))
        for message in read.messages:
            for place, found in enumerate(extractor.extract(message.text)):
                new.append(made(found, f"chatgpt:{message.id}.{place}", message.time, f"{source}:chatgpt", (), confirm, extractor))
        return self._keep(who, new)

    def export_memories(self, person: Id, form: str = "mem0") -> str:
        """Everything that is remembered, as text in mem0's or ChatGPT's form."""
        who = person_id(person)
        found = sorted(self.memories(who, history=True), key=lambda one: one.time)
        return json.dumps(formats.write(found, form, person=who), ensure_ascii=False, indent=1)


def _now() -> float:
    return time.time()

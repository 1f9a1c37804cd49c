"""LikeBench with language models: one that plays the person and scores, and one that is the assistant; over any writer backend."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sartor.evaluate.likebench.persona import MOODS, RESPONSES, Fact, Persona, SessionPrior
from sartor.evaluate.likebench.user import ASPECTS, Message, Question, Scores, as_dict
from sartor.write.backends.backend import Backend
from sartor.write.parts.language_job import extract, summarise

RUBRIC = {
    "emotion": "does the answer meet the mood of the person in the way she wants it",
    "formality": "is it as formal as she likes",
    "knowledge": "is it at the right level for what she knows of the topic",
    "reference": "does it understand what she alludes to",
    "length": "is it as long as she likes",
    "humor": "does its humor, or lack of it, suit her now",
    "callback": "does it come back to something she shared earlier, at a good moment",
}
_SCALE = {"type": "integer", "minimum": 1, "maximum": 5}
STRUCTURE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "text": {"type": "string"}, "formality": _SCALE, "length": _SCALE, "humor": _SCALE, "level": _SCALE,
        "emotion": {"enum": ["", "warm", *RESPONSES]}, "told": {"type": "object", "additionalProperties": {"type": "string"}},
        "asks_back": {"type": "boolean"},
    },
    "required": ["text", "formality", "length", "humor", "level", "emotion", "told", "asks_back"],
    "additionalProperties": False,
}  # fmt: skip
"""JSON Schema of an assistant's message in the structured form."""


@dataclass(kw_only=True)
class LanguageUser:
    """A language model that speaks as one persona, and scores with the rubric, both with the whole profile in view.

    A fact counts as told when its value stands in her words. Scores that cannot be read are none for that turn, with the reason.
    """

    persona: Persona
    backend: Backend
    told: dict[str, tuple[Fact, int]] = field(default_factory=dict)
    max_tokens: int = 200

    def start(self, session: int, prior: SessionPrior) -> None:
        """See `SimulatedUser`."""
        self._session, self._prior, self._said = session, prior, ""

    def speak(self, turn: int, dialogue: Sequence[Message]) -> Message:
        """See `SimulatedUser`."""
        prior = self._prior
        system = (
            f"You play this person and write only what she says next.\n{self.persona.text()}\n"
            f"Now: {prior.event}; mood {prior.mood}; she wants {prior.goal}; about {prior.topic}. Turn {turn + 1}."
        )
        talk = [{"role": ("assistant", "user")[at % 2], "content": one.text} for at, one in enumerate(dialogue)]
        # Models answer somebody: the first to speak is asked to begin.
        messages = [{"role": "system", "content": system}, {"role": "user", "content": "Begin."}, *talk]
        self._said = self.backend.generate([messages], max_tokens=self.max_tokens, temperature=0.7, seed=turn)[0].text
        for fact in self.persona.facts:
            if fact.key not in self.told and fact.value.lower() in self._said.lower():
                self.told[fact.key] = (fact, self._session)
        return Message(text=self._said, topic=prior.topic, emotion=prior.mood if prior.mood in MOODS else "")

    def score(self, answer: Message) -> Scores:
        """See `SimulatedUser`."""
        if not answer.text.strip():
            return Scores(dict.fromkeys(ASPECTS, 1), "the answer is empty")
        shape = {"type": ["integer", "null"], "minimum": 1, "maximum": 5}
        schema = {"type": "object", "properties": dict.fromkeys(ASPECTS, shape), "required": list(ASPECTS), "additionalProperties": False}
        rubric = "; ".join(f"{name}: {what}" for name, what in RUBRIC.items())
        task = (
            f"You are this person: {self.persona.text()} The first text is what you said, the second what you were answered. Score the answer from 1 "
            f"(not at all) to 5 (exactly as you like it) on each aspect, null where the turn gives no chance to show it. Aspects: {rubric}."
        )
        found = extract(self.backend, task, schema=schema).one([self._said, answer.text])
        if found.error is not None:
            return Scores(dict.fromkeys(ASPECTS), f"no scores could be read: {found.error}")
        return Scores(found.value)


@dataclass(kw_only=True)
class BackendAssistant:
    """A language model as the assistant, with a profile of the person that it rewrites after each session.

    With `structured` it reads and answers messages in the structured form, so that `RuleUser` can score it exactly; otherwise plain texts.
    """

    backend: Backend
    structured: bool = False
    keeps_profile: bool = True
    profile: str = ""
    max_tokens: int = 400
    _session: list[str] = field(default_factory=list)

    def reply(self, message: Message, dialogue: Sequence[Message]) -> Message:
        """See `Assistant`; an empty text where the model does not answer in the structured form."""
        self._session = [self._line(one) for one in (*dialogue, message)]
        if self.structured:
            task = (
                "The texts are what is known of a person, and a conversation with her, each message as JSON, hers and yours in turn. Write your "
                "next message so that she likes it: formality, length, humor and level as she seems to want them (1 to 5), emotion as the way to "
                f"meet her mood ({', '.join(RESPONSES)}), told as facts of hers that you refer to (key to value), asks_back if you do not "
                "know what she alludes to."
            )
            made = extract(self.backend, task, schema=STRUCTURE, max_tokens=self.max_tokens).one([self.profile or "nothing yet", *self._session])
            return Message(text="") if made.error is not None else Message(topic=message.topic, **made.value)
        system = "You are a good listener. Answer as this person would like it." + (
            f"\nWhat you know of her:\n{self.profile}" if self.profile else ""
        )
        talk = [{"role": ("user", "assistant")[at % 2], "content": one.text} for at, one in enumerate((*dialogue, message))]
        return Message(text=self.backend.generate([[{"role": "system", "content": system}, *talk]], max_tokens=self.max_tokens)[0].text)

    def end_session(self) -> None:
        """See `Assistant`; a rewriting that fails leaves the profile as it was."""
        if self.keeps_profile and self._session:
            task = "Rewrite the profile (the first text) with what the conversation shows of her: facts, one per line, and how she likes answers."
            made = summarise(self.backend, task, max_tokens=self.max_tokens).one([self.profile or "nothing yet", *self._session])
            self.profile = self.profile if made.error is not None else made.value
        self._session = []

    def answer(self, question: Question) -> str:
        """See `Assistant`."""
        asked = question.text + (f" One of: {', '.join(question.options)}." if question.options else "") + " Answer with the name alone."
        talk = [{"role": "system", "content": f"What you know of the person:\n{self.profile}"}, {"role": "user", "content": asked}]
        return self.backend.generate([talk], max_tokens=20)[0].text

    def stored(self) -> Mapping[str, Any]:
        """See `Assistant`; each line of the profile counts as one fact."""
        return {"facts": [line for line in self.profile.splitlines() if line.strip()]}

    def _line(self, message: Message) -> str:
        return json.dumps(as_dict(message), ensure_ascii=False) if self.structured else message.text

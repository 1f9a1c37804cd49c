import { useLocation } from "preact-iso"
import type { ComponentChildren } from "preact"
import { useContext, useEffect, useState } from "preact/hooks"
import { path, withQuery, type Query } from "../api/client"
import { percent } from "../format"
import { Session } from "../session"
import { announce } from "./announce"
import { Panel } from "./panel"
import { PersonField } from "./person-field"

export type Ask = (change: Query) => void

/** What a page asks stands in its address; `ask` changes some of it. A key that is bound to a person asks for that person. */
export function useAsked(page: string) {
  const { query: asked, route } = useLocation()
  const bound = useContext(Session)?.person
  const text = (asked.q ?? "").trim()
  const ask: Ask = (change) => route(withQuery(page, { q: text, ...asked, ...change }), true)
  return {
    asked,
    ask,
    text,
    person: asked.person || bound || "",
    strength: asked.strength ? Number(asked.strength) : null,
  }
}

/** Say it to those who do not see it, once for every answer. */
export function useHeard<T>(answer: T | undefined, words: (answer: T) => string) {
  useEffect(() => {
    if (answer) announce(words(answer))
  }, [answer])
}

/** For whom it is asked: a person, whom the page's address keeps, or a field to choose one. */
export function WhoField({ label = "For", person, ask }: { label?: string; person: string; ask: Ask }) {
  const bound = useContext(Session)?.person
  return (
    <div class="who-field">
      {person ? (
        <>
          <span class="label">{label}</span>
          <span class="chip">
            {person}
            {!bound && (
              <button type="button" class="quiet" onClick={() => ask({ person: null, strength: null })}>
                Change
              </button>
            )}
          </span>
        </>
      ) : (
        <PersonField label={label} onPick={(one) => ask({ person: one })} />
      )}
    </div>
  )
}

interface SidesProps {
  person: string
  /** Of the panel where there is no person to compare with. */
  alone: string
  ownHint: string
  hint: string
  own: ComponentChildren
  children: ComponentChildren
}

/** A person's answer and everybody's, side by side; without a person, everybody's alone. */
export function Sides({ person, alone, ownHint, hint, own, children }: SidesProps) {
  return (
    <div class={person ? "pair" : "stack"}>
      {person && (
        <Panel
          title={`For ${person}`}
          class="own-panel"
          hint={ownHint}
          actions={<a href={path`/people/${person}`}>{person}</a>}
        >
          {own}
        </Panel>
      )}
      <Panel title={person ? "Everybody" : alone} class="anybody-panel" hint={hint}>
        {children}
      </Panel>
    </div>
  )
}

interface StrengthProps {
  name: string
  value: number | null
  learned?: number | null
  most: number
  /** What the two ends mean. */
  ends: [string, string]
  ask: Ask
}

/** How much of hers counts; asked again when it is let go. */
export function Strength({ name, value, learned, most, ends, ask }: StrengthProps) {
  const [now, setNow] = useState(value)
  useEffect(() => setNow(value), [value])
  const shown = now ?? learned ?? 1
  return (
    <div class="strength">
      <label class="label" for="strength">
        {name}: {percent(shown)}
        {now === null && " (as learned)"}
      </label>
      <input
        id="strength"
        type="range"
        min={0}
        max={most}
        step={0.05}
        value={shown}
        aria-valuetext={percent(shown)}
        onInput={(event) => setNow(Number(event.currentTarget.value))}
        onChange={(event) => ask({ strength: event.currentTarget.value })}
      />
      <span class="ends small muted">
        <span>{ends[0]}</span>
        {now !== null && (
          <button type="button" class="link small" onClick={() => ask({ strength: null })}>
            as learned
          </button>
        )}
        <span>{ends[1]}</span>
      </span>
    </div>
  )
}

interface HowManyProps {
  label: string
  value: number
  choices: number[]
  onPick: (n: string) => void
}

export function HowMany({ label, value, choices, onPick }: HowManyProps) {
  return (
    <label>
      <span class="label">{label}</span>
      <select value={value} onChange={(event) => onPick(event.currentTarget.value)}>
        {choices.map((one) => (
          <option key={one} value={one}>
            {one}
          </option>
        ))}
      </select>
    </label>
  )
}

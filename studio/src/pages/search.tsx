import { useLocation } from "preact-iso"
import { useContext, useEffect, useState } from "preact/hooks"
import { path, withQuery } from "../api/client"
import type { Found, ItemId, SearchAnswer } from "../api/types"
import type { Resource } from "../api/use-api"
import { usePost } from "../api/use-post"
import { count, percent, seconds, short, signed } from "../format"
import { announce } from "../parts/announce"
import { CopyAs } from "../parts/copy"
import type { CsvColumn } from "../parts/csv"
import { Empty, Load, Notice, Panel } from "../parts/panel"
import { PersonField } from "../parts/person-field"
import { Moved, RankedList } from "../parts/ranked-list"
import { Session } from "../session"
import { useTitle } from "../title"

const STEP = 0.05
const K = 10

/** One question, answered for a person and for everybody, with what of hers moved each result. The question stands in the address. */
export function SearchPage() {
  const { query: asked, route } = useLocation()
  const me = useContext(Session)
  const person = asked.person || me?.person || ""
  const query = (asked.q ?? "").trim()
  const strength = asked.strength ? Number(asked.strength) : null
  const k = Number(asked.k) || K
  const where = asked.where ?? ""
  useTitle(query ? `Search: ${query}` : "Search")
  const body = { query, k, ...(where && { where }) }
  const own = { ...body, person, ...(strength !== null && { strength }) }
  const personal = usePost<SearchAnswer>("/v1/search", query && person ? own : null)
  const anybody = usePost<SearchAnswer>(
    "/v1/search",
    query ? { ...body, ...(person && { person }), personal: false, explain: false } : null,
  )
  const [hot, setHot] = useState<ItemId | null>(null)

  function ask(change: Record<string, string | number | null>) {
    const all = { q: query, person: asked.person, strength: asked.strength, where, k: asked.k, ...change }
    route(withQuery("/search", all), true)
  }
  const heard = (person ? personal : anybody).data
  useEffect(() => {
    if (heard) announce(`${count(heard.items.length, "result")} for ${heard.query}`)
  }, [heard])

  return (
    <>
      <h1>Search</h1>
      <Question key={`${query} ${where}`} query={query} where={where} k={k} ask={ask}>
        {person ? (
          <div class="who-field">
            <span class="label">For</span>
            <span class="chip">
              {person}
              {!me?.person && (
                <button type="button" class="quiet" onClick={() => ask({ person: null })}>
                  Change
                </button>
              )}
            </span>
          </div>
        ) : (
          <div class="who-field">
            <PersonField label="For" onPick={(one) => ask({ person: one })} />
          </div>
        )}
      </Question>
      {!query ? (
        <Panel title="Results">
          <Empty title="Ask for something.">
            With a person, the results come in their order and in everybody's, side by side.
          </Empty>
        </Panel>
      ) : (
        <div class={person ? "pair" : "stack"}>
          {person && (
            <Panel
              title={`For ${person}`}
              hint="Click a result to see what of theirs moved it."
              class="own-panel"
              actions={<a href={path`/people/${person}`}>{person}</a>}
            >
              <Strength value={strength} learned={personal.data?.strength} ask={ask} />
              <Results
                from={personal}
                tone="own"
                label={`Found for ${person}`}
                file={`${query} for ${person}`}
                k={k}
                hot={hot}
                onHot={setHot}
              />
            </Panel>
          )}
          <Panel
            title={person ? "Everybody" : "Results"}
            hint={
              person
                ? "The same question of somebody nothing is known of."
                : "In everybody's order; choose a person to see theirs beside it."
            }
            class="anybody-panel"
          >
            <Results
              from={anybody}
              tone="anybody"
              label="Found for anybody"
              file={`${query} for anybody`}
              k={k}
              hot={hot}
              onHot={setHot}
            />
          </Panel>
        </div>
      )}
      <CopyAs
        method="POST"
        url="/v1/search"
        body={person ? own : body}
        python={`answer = client.search(${person ? JSON.stringify(person) : "None"}, ${JSON.stringify(query || "words")}, k=${k})\nfor found in answer.items:\n    print(found.rank, found.population_rank, found.title)`}
      />
    </>
  )
}

interface QuestionProps {
  query: string
  where: string
  k: number
  ask: (change: Record<string, string | number | null>) => void
  children: preact.ComponentChildren
}

function Question({ query, where, k, ask, children }: QuestionProps) {
  const [text, setText] = useState(query)
  const [filter, setFilter] = useState(where)
  return (
    <Panel title="Question">
      <form
        role="search"
        onSubmit={(event) => {
          event.preventDefault()
          ask({ q: text.trim(), where: filter.trim() })
        }}
      >
        <div class="question-line">
          <label class="grow">
            <span class="label">What</span>
            <input
              type="search"
              name="q"
              maxLength={1000}
              autocomplete="off"
              placeholder="words of a title, a description, a category"
              value={text}
              onInput={(event) => setText(event.currentTarget.value)}
            />
          </label>
          {children}
        </div>
        <div class="question-line">
          <label class="grow">
            <span class="label">Only items where</span>
            <input
              type="text"
              maxLength={2000}
              spellcheck={false}
              autocomplete="off"
              placeholder="year > 1990 AND array_contains(categories, 'Comedy')"
              value={filter}
              onInput={(event) => setFilter(event.currentTarget.value)}
            />
          </label>
          <label>
            <span class="label">Results</span>
            <select value={k} onChange={(event) => ask({ k: event.currentTarget.value })}>
              {[5, 10, 20, 50].map((one) => (
                <option key={one} value={one}>
                  {one}
                </option>
              ))}
            </select>
          </label>
          <button type="submit" class="primary" disabled={!text.trim()}>
            Search
          </button>
        </div>
      </form>
    </Panel>
  )
}

/** From everybody's order to hers alone; asked again when it is let go. */
function Strength({
  value,
  learned,
  ask,
}: {
  value: number | null
  learned: number | null | undefined
  ask: QuestionProps["ask"]
}) {
  const [now, setNow] = useState(value)
  useEffect(() => setNow(value), [value])
  const shown = now ?? learned ?? 1
  return (
    <div class="strength">
      <label class="label" for="strength">
        How personal: {percent(shown)}
        {now === null && " (as learned)"}
      </label>
      <input
        id="strength"
        type="range"
        min={0}
        max={1}
        step={STEP}
        value={shown}
        aria-valuetext={percent(shown)}
        onInput={(event) => setNow(Number(event.currentTarget.value))}
        onChange={(event) => ask({ strength: event.currentTarget.value })}
      />
      <span class="ends small muted">
        <span>everybody's order</span>
        {now !== null && (
          <button type="button" class="link small" onClick={() => ask({ strength: null })}>
            as learned
          </button>
        )}
        <span>most personal</span>
      </span>
    </div>
  )
}

interface ResultsProps {
  from: Resource<SearchAnswer>
  tone: "own" | "anybody"
  label: string
  file: string
  k: number
  hot: ItemId | null
  onHot: (item: ItemId | null) => void
}

function Results({ from, tone, label, file, k, hot, onHot }: ResultsProps) {
  const [open, setOpen] = useState<string | null>(null)
  const own = tone === "own"
  return (
    <Load
      from={from}
      lines={10}
      empty={(answer) =>
        !answer.items.length && (
          <Empty title={answer.fallback === "no model" ? "No model for searching is active." : "Nothing was found."}>
            {answer.note}{" "}
            {answer.fallback === "no model" ? (
              <a href="/models">Fit “personal-search”.</a>
            ) : (
              "Try other words, or fewer conditions."
            )}
          </Empty>
        )
      }
    >
      {(answer) => (
        <>
          {own && answer.fallback && (
            <Notice tone="warn">
              <strong>Everybody's order: {answer.fallback}.</strong> {answer.note}
            </Notice>
          )}
          <p class="provenance small muted">
            {own && answer.state && <span>state v{answer.state.version}</span>}
            {own && answer.state && <span>made {seconds(answer.state.age_seconds)} ago</span>}
            <span>answered in {seconds(answer.seconds)}</span>
            {answer.note && !answer.fallback && <span>{answer.note}</span>}
          </p>
          <RankedList
            label={label}
            tone={tone}
            items={answer.items}
            file={file}
            more={COLUMNS}
            hot={hot}
            onHot={onHot}
            open={open}
            onOpen={own && answer.personal ? setOpen : undefined}
            beside={
              own && answer.personal
                ? (pick, rank) => <Moved from={(pick as Found).population_rank} to={rank} k={k} />
                : undefined
            }
            detail={(pick, rank) => <Reasons found={pick as Found} rank={rank} />}
          />
          <details class="small muted">
            <summary>How it was found</summary>
            <p>
              {answer.plan || "no plan"}
              {answer.model && `; model ${short(answer.model)}`}
            </p>
          </details>
        </>
      )}
    </Load>
  )
}

const COLUMNS: CsvColumn<Found>[] = [
  { name: "rank for anybody", value: (one) => one.population_rank },
  {
    name: "reasons",
    value: (one) =>
      one.reasons.map((reason) => `${reason.title || reason.item} ${signed(reason.contribution)}`).join("; "),
  },
]

/** What of hers moved a result, and by how much. */
function Reasons({ found, rank }: { found: Found; rank: number }) {
  return (
    <>
      <p class="why-line">
        {found.reasons.length
          ? "Moved here by what they did with"
          : "Nothing of theirs moved it: it stands here for the words of the question."}
      </p>
      {found.reasons.length > 0 && (
        <ul class="reasons">
          {found.reasons.map((reason) => (
            <li key={reason.item}>
              <div class="reason-text">
                <span>
                  {reason.title || reason.item}
                  {reason.events > 1 && <span class="muted small"> · {count(reason.events, "event")}</span>}
                </span>
                <span class="small">
                  <b>{signed(reason.contribution)}</b> <span class="muted">{percent(reason.share)}</span>
                </span>
              </div>
              <svg class="bar" width="100%" height="6" aria-hidden="true">
                <rect width="100%" height="6" rx="3" class="bar-ground" />
                <rect
                  width={`${Math.min(1, Math.max(0, reason.share)) * 100}%`}
                  height="6"
                  rx="3"
                  class={reason.contribution < 0 ? "bar-bad" : "bar-own"}
                />
              </svg>
            </li>
          ))}
        </ul>
      )}
      <p class="small muted">
        {found.population_rank == null
          ? "Anybody else would not find it."
          : found.population_rank === rank
            ? `Anybody finds it at number ${rank}, too.`
            : `Anybody else finds it at number ${found.population_rank}.`}
      </p>
    </>
  )
}

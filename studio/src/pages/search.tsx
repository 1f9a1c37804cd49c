import { useState } from "preact/hooks"
import type { Found, ItemId, SearchAnswer } from "../api/types"
import type { Resource } from "../api/use-api"
import { usePost } from "../api/use-post"
import { count, percent, seconds, short, signed } from "../format"
import { HowMany, Sides, Strength, useAsked, useHeard, WhoField, type Ask } from "../parts/asking"
import { CopyAs } from "../parts/copy"
import type { CsvColumn } from "../parts/csv"
import { Empty, Load, Notice, Panel } from "../parts/panel"
import { Moved, RankedList } from "../parts/ranked-list"
import { useTitle } from "../title"

const K = 10

/** One question, answered for a person and for everybody, with what of hers moved each result. The question stands in the address. */
export function SearchPage() {
  const { asked, ask, text: query, person, strength } = useAsked("/search")
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
  useHeard(
    (person ? personal : anybody).data,
    (answer) => `${count(answer.items.length, "result")} for ${answer.query}`,
  )
  const list = { k, hot, onHot: setHot }

  return (
    <>
      <h1>Search</h1>
      <Question key={`${query} ${where}`} query={query} where={where} k={k} ask={ask}>
        <WhoField person={person} ask={ask} />
      </Question>
      {!query ? (
        <Panel title="Results">
          <Empty title="Ask for something.">
            With a person, the results come in their order and in everybody's, side by side.
          </Empty>
        </Panel>
      ) : (
        <Sides
          person={person}
          alone="Results"
          ownHint="Click a result to see what of theirs moved it."
          hint={
            person
              ? "The same question of somebody nothing is known of."
              : "In everybody's order; choose a person to see theirs beside it."
          }
          own={
            <>
              <Strength
                name="How personal"
                value={strength}
                learned={personal.data?.strength}
                most={1}
                ends={["everybody's order", "most personal"]}
                ask={ask}
              />
              <Results
                from={personal}
                tone="own"
                label={`Found for ${person}`}
                file={`${query} for ${person}`}
                {...list}
              />
            </>
          }
        >
          <Results from={anybody} tone="anybody" label="Found for anybody" file={`${query} for anybody`} {...list} />
        </Sides>
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
  ask: Ask
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
          <HowMany label="Results" value={k} choices={[5, 10, 20, 50]} onPick={(n) => ask({ k: n })} />
          <button type="submit" class="primary" disabled={!text.trim()}>
            Search
          </button>
        </div>
      </form>
    </Panel>
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

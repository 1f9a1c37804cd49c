import type { ComponentChildren } from "preact"
import type { Answer, ItemId, Pick } from "../api/types"
import { bytes, count, score, seconds } from "../format"
import { CsvButton, type CsvColumn } from "./csv"
import { Notice } from "./panel"

interface RankedListProps {
  label: string
  tone: "own" | "anybody"
  items: Pick[]
  /** Name of the CSV file that the list can be taken away as. */
  file?: string
  /** More columns of that file. */
  more?: CsvColumn<never>[]
  /** Beside an item: where it stands elsewhere, and so on. */
  beside?: (pick: Pick, rank: number) => ComponentChildren
  /** What opens under an item when it is clicked. */
  open?: string | null
  onOpen?: (item: string | null) => void
  detail?: (pick: Pick, rank: number) => ComponentChildren
  hot?: ItemId | null
  onHot?: (item: ItemId | null) => void
}

/** A list in order, best first. */
export function RankedList({
  label,
  tone,
  items,
  file,
  more = [],
  beside,
  open,
  onOpen,
  detail,
  hot,
  onHot,
}: RankedListProps) {
  const list = (
    <ol class={`ranked ${tone}`} aria-label={label}>
      {items.map((pick, at) => {
        const name = (
          <span class="pick-name">
            <span class="pick-title">{pick.title || pick.item}</span>
            <span class="muted small">
              {pick.title && <span class="pick-id">{pick.item}</span>}{" "}
              <span title="score, in the method's own scale">{score(pick.score)}</span>
            </span>
          </span>
        )
        return (
          <li
            key={pick.item}
            class={hot === pick.item ? "hot" : undefined}
            onMouseEnter={onHot && (() => onHot(pick.item))}
            onMouseLeave={onHot && (() => onHot(null))}
            onFocusIn={onHot && (() => onHot(pick.item))}
          >
            <span class="rank" aria-hidden="true">
              {at + 1}
            </span>
            {onOpen ? (
              <button
                type="button"
                class="pick"
                aria-expanded={open === String(pick.item)}
                onClick={() => onOpen(open === String(pick.item) ? null : String(pick.item))}
              >
                {name}
              </button>
            ) : (
              <span class="pick">{name}</span>
            )}
            {beside && <span class="beside">{beside(pick, at + 1)}</span>}
            {open === String(pick.item) && detail && <div class="pick-detail">{detail(pick, at + 1)}</div>}
          </li>
        )
      })}
    </ol>
  )
  if (!file || !items.length) return list
  const rows = items.map((pick, at) => ({ ...pick, rank: at + 1 }))
  return (
    <>
      {list}
      <div class="table-foot">
        <CsvButton file={file} columns={[...COLUMNS, ...(more as typeof COLUMNS)]} rows={rows} />
      </div>
    </>
  )
}

const COLUMNS: CsvColumn<Pick & { rank: number }>[] = [
  { name: "rank", value: (pick) => pick.rank },
  { name: "item", value: (pick) => pick.item },
  { name: "title", value: (pick) => pick.title },
  { name: "score", value: (pick) => pick.score },
]

/** Where an item moved between two lists; null is "not in it". */
export function Moved({ from, to, k }: { from: number | null | undefined; to: number | null | undefined; k: number }) {
  if (from == null && to == null) return null
  if (from == null)
    return (
      <span class="move up">
        new<span class="sr-only">, was not in the first {k}</span>
      </span>
    )
  if (to == null)
    return (
      <span class="move out">
        out<span class="sr-only">, was {from}</span>
      </span>
    )
  if (from === to) return <span class="move same">same</span>
  return (
    <span class={from > to ? "move up" : "move down"}>
      <span aria-hidden="true">{from > to ? "▲" : "▼"} </span>
      <span class="sr-only">{from > to ? "up" : "down"} </span>
      {Math.abs(from - to)}
    </span>
  )
}

const FALLBACKS: Record<string, string> = {
  "unknown person": "Nothing is stored for this id, so this is everybody's list.",
  "no consent": "No consent for recommending, so this is everybody's list.",
  "no evidence the model knows": "None of the events is about an item the model knows, so this is everybody's list.",
  "attributes only": "No usable events yet: the list comes from what is known about similar people.",
  "not adapted yet": "The newest events wait for adapting; until then this is everybody's list.",
  "no model": "No model is active, so there is no list.",
}

/** Which state answered, how fresh and how big it is, and how long it took. */
export function Provenance({ answer, size }: { answer: Answer; size?: number | null }) {
  return (
    <>
      {answer.fallback && (
        <Notice tone="warn">
          <strong>
            {answer.fallback === "attributes only" ? "Answer from attributes" : "Population answer"}: {answer.fallback}.
          </strong>{" "}
          {FALLBACKS[answer.fallback] ?? answer.note}
        </Notice>
      )}
      <p class="provenance small muted">
        {answer.state ? (
          <>
            <span>state v{answer.state.version}</span>
            {size != null && <span>{bytes(size)}</span>}
            <span>made {seconds(answer.state.age_seconds)} ago</span>
            <span>{answer.state.lag ? `${count(answer.state.lag, "event")} waiting` : "nothing waiting"}</span>
          </>
        ) : (
          <span>no personal state used</span>
        )}
        <span>answered in {seconds(answer.seconds)}</span>
        {answer.note && !answer.fallback && <span>{answer.note}</span>}
      </p>
    </>
  )
}

import { useEffect, useState } from "preact/hooks"
import { call, path, withQuery } from "../../api/client"
import type { Event, Explanation, Page, Pick, Reason, WhatIf } from "../../api/types"
import { useAction, useApi } from "../../api/use-api"
import { count, score, signed } from "../../format"
import { announce } from "../../parts/announce"
import { Badge } from "../../parts/icons"
import { Failure, Load } from "../../parts/panel"
import { useScope } from "../../session"
import { Moves } from "./moves"

interface WhyProps {
  person: string
  pick: Pick
  rank: number
  k: number
  onChoose: (pick: Pick) => Promise<void>
}

/** Why an item is in somebody's list: which of their own events moved it, by how much, and what the list is without them. */
export function Why({ person, pick, rank, k, onChoose }: WhyProps) {
  const why = useApi<Explanation>(withQuery(path`/v1/people/${person}/explanations/${pick.item}`, { top: 5 }))
  const mayWrite = useScope("write")
  const [choose, choosing] = useAction(onChoose)
  return (
    <>
      <Load from={why} lines={3}>
        {(told) => <Told person={person} told={told} rank={rank} k={k} />}
      </Load>
      {choosing.error && <Failure problem={choosing.error} />}
      {mayWrite && (
        <p>
          <button type="button" class="small" disabled={choosing.pending} onClick={() => choose(pick)}>
            {choosing.pending ? "Recording…" : "Record that they chose it"}
          </button>
        </p>
      )}
    </>
  )
}

function Told({ person, told, rank, k }: { person: string; told: Explanation; rank: number; k: number }) {
  const [without, setWithout] = useState<WhatIf & { reasons: Reason[] }>()
  const [take, taking] = useAction(async (reasons: Reason[]) => {
    const ids = await idsOf(person, reasons)
    const answer = await call<WhatIf>("POST", path`/v1/people/${person}/what-if`, { remove: ids, k })
    setWithout({ ...answer, reasons })
    announce(`${count(answer.moved.length, "item")} moved`)
  })
  useEffect(() => setWithout(undefined), [told])
  const most = Math.max(...told.reasons.map((reason) => Math.abs(reason.contribution)), 1e-12)

  return (
    <>
      <p class="why-line">
        {told.reasons.length
          ? "Moved here by their own"
          : "No event of theirs moved it: it is here because many people choose it."}{" "}
        {told.verified && <Badge tone="good">verified by removing them</Badge>}
      </p>
      {told.reasons.length > 0 && (
        <ul class="reasons">
          {told.reasons.map((reason) => (
            <li key={reason.item}>
              <div class="reason-text">
                <span>
                  {reason.title || reason.item}
                  {reason.events > 1 && <span class="muted small"> · {count(reason.events, "event")}</span>}
                </span>
                <span class="small">
                  <b>{signed(reason.contribution)}</b>
                  {reason.rank_without != null && reason.rank_without !== rank && (
                    <span class="muted">
                      {" "}
                      · rank {rank} → {reason.rank_without} without
                    </span>
                  )}
                </span>
              </div>
              <svg class="bar" width="100%" height="6" aria-hidden="true">
                <rect width="100%" height="6" rx="3" class="bar-ground" />
                <rect
                  width={`${(Math.abs(reason.contribution) / most) * 100}%`}
                  height="6"
                  rx="3"
                  class={reason.contribution < 0 ? "bar-bad" : "bar-own"}
                />
              </svg>
              {told.reasons.length > 1 && (
                <button type="button" class="link small" disabled={taking.pending} onClick={() => take([reason])}>
                  The list without this
                </button>
              )}
            </li>
          ))}
        </ul>
      )}
      <p class="small muted">
        Score {score(told.score)}; {score(told.score_population)} for anybody.{" "}
        {told.without?.rank != null &&
          `Without ${told.reasons.length > 1 ? `these ${told.reasons.length}` : "it"} it would be number ${told.without.rank}.`}
      </p>
      {told.reasons.length > 0 && (
        <button type="button" class="small" disabled={taking.pending} onClick={() => take(told.reasons)}>
          {taking.pending
            ? "Looking…"
            : told.reasons.length > 1
              ? `The list without these ${told.reasons.length}`
              : "The list without it"}
        </button>
      )}
      {taking.error && <Failure problem={taking.error} />}
      {without && (
        <div class="without">
          <h3>
            Without{" "}
            {without.reasons.length > 2
              ? `these ${without.reasons.length}`
              : without.reasons.map((reason) => reason.title || reason.item).join(" and ")}
          </h3>
          <Moves before={without.before} after={without.after} k={k} />
          <p class="small muted">Nothing was changed: this is a question, not an edit.</p>
        </div>
      )}
    </>
  )
}

/** The events behind some reasons. Where the explanation does not name them, all events with those items are meant. */
async function idsOf(person: string, reasons: Reason[]): Promise<string[]> {
  if (reasons.every((reason) => reason.ids?.length)) return reasons.flatMap((reason) => reason.ids!)
  const items = new Set(reasons.map((reason) => String(reason.item)))
  const ids: string[] = []
  let before: string | null | undefined
  do {
    const page: Page<Event> = await call("GET", withQuery(path`/v1/people/${person}/events`, { limit: 500, before }))
    ids.push(...page.items.filter((event) => items.has(String(event.item))).map((event) => event.id))
    before = page.next
  } while (before)
  return ids
}

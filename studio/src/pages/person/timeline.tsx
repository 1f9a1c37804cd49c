import { useCallback, useEffect, useRef, useState } from "preact/hooks"
import type { TabProps } from "."
import { call, path, Problem } from "../../api/client"
import type { Event } from "../../api/types"
import { bytes, seconds } from "../../format"
import { announce } from "../../parts/announce"
import { CopyAs } from "../../parts/copy"
import type { CsvColumn } from "../../parts/csv"
import { Icon } from "../../parts/icons"
import { ListFoot } from "../../parts/list-foot"
import { Empty, Failure, Load, Notice, Panel } from "../../parts/panel"
import { Time } from "../../parts/time"
import { useScope } from "../../session"
import { aboutOf, kindOf, useEvents } from "./events"
import { untilFresh } from "./fresh"
import { NewEvent } from "./new-event"

const UNDO_SECONDS = 8

const COLUMNS: CsvColumn<Event>[] = [
  { name: "id", value: (one) => one.id },
  { name: "time", value: (one) => one.time },
  { name: "received", value: (one) => one.received },
  { name: "frame", value: (one) => one.frame },
  { name: "kind", value: (one) => one.kind },
  { name: "item", value: (one) => one.item },
  { name: "title", value: (one) => one.title },
  { name: "value", value: (one) => one.value },
  { name: "weight", value: (one) => one.weight },
  { name: "content", value: (one) => JSON.stringify(one.content) },
  { name: "source", value: (one) => one.source },
  { name: "purposes", value: (one) => one.purposes?.join(" ") },
  { name: "expires", value: (one) => one.expires },
]

export function Timeline({ person, profile }: TabProps) {
  const pages = useEvents(person)
  const { url, first, rows: events } = pages
  const mayWrite = useScope("write")
  const [said, setSaid] = useState<string>()
  const [failed, setFailed] = useState<Problem>()

  const settle = useCallback(
    async (what: string) => {
      const start = performance.now()
      first.reload()
      const fresh = await untilFresh(person)
      const took = seconds((performance.now() - start) / 1000)
      const text = `${what} ${fresh?.state ? `State v${fresh.state.version}, ${bytes(fresh.state.bytes)}, ${took} later.` : "No personal state is left or adapting still waits."}`
      setSaid(text)
      announce(text)
      profile.reload()
    },
    [person, first.reload, profile.reload],
  )

  const remove = useCallback(
    async (event: Event) => {
      try {
        await call("DELETE", path`/v1/people/${person}/events/${event.id}`)
        setFailed(undefined)
        await settle("Removed, for good.")
      } catch (failure) {
        setFailed(failure as Problem)
        first.reload()
      }
    },
    [person, settle, first.reload],
  )

  return (
    <>
      {mayWrite && <NewEvent person={person} onSent={() => settle("Recorded.")} />}
      <Panel
        title="Evidence"
        hint="Newest first: what was recorded, when, and where it came from. Removing one corrects what is known."
      >
        {said && <Notice tone="good">{said}</Notice>}
        {failed && <Failure problem={failed} />}
        <Load
          from={first}
          lines={8}
          empty={(page) =>
            !page.items.length && <Empty title="No evidence.">Nothing has been recorded of {person}.</Empty>
          }
        >
          {() => (
            <ol class="timeline">
              {events.map((event) => (
                <Entry key={event.id} event={event} onRemove={remove} />
              ))}
            </ol>
          )}
        </Load>
        <ListFoot of={pages} file={`events of ${person}`} columns={COLUMNS} />
        <CopyAs
          url={url}
          python={`for event in client.events(${JSON.stringify(person)}).items:\n    print(event.time, event.item)`}
        />
      </Panel>
    </>
  )
}

/** One event. Removing it waits a few seconds for a change of mind; leaving the page removes at once. */
function Entry({ event, onRemove }: { event: Event; onRemove: (event: Event) => void }) {
  const mayEdit = useScope("profile")
  const [left, setLeft] = useState<number | null>(null)
  const [paused, setPaused] = useState(false)
  const undo = useRef<HTMLButtonElement>(null)
  const pending = useRef(false)
  pending.current = left !== null && left > 0
  const going = left !== null

  useEffect(() => {
    if (!going || paused) return
    const timer = setInterval(() => setLeft((n) => (n === null ? null : n - 1)), 1000)
    return () => clearInterval(timer)
  }, [going, paused])
  useEffect(() => {
    if (left === 0) onRemove(event)
  }, [left])
  useEffect(() => {
    if (going) undo.current?.focus()
  }, [going])
  useEffect(() => () => void (pending.current && onRemove(event)), [])

  const about = aboutOf(event)
  return (
    <li class={going ? "going" : undefined}>
      <div class="event-main">
        <span class="kind">{kindOf(event)}</span>
        <span class="about">{about}</span>
        {event.value != null && <span class="small">value {event.value}</span>}
        {event.weight != null && event.weight !== 1 && <span class="small">weight {event.weight}</span>}
      </div>
      <div class="event-facts small muted">
        <Time at={event.time ?? event.received} />
        <span>from {event.source || "unknown"}</span>
        {event.title && event.item != null && <span class="pick-id">{event.item}</span>}
        {event.model && <span>made by model {event.model.slice(0, 10)}</span>}
        {event.purposes && <span>only for {event.purposes.join(", ")}</span>}
        {event.expires && (
          <span>
            until <Time at={event.expires} />
          </span>
        )}
      </div>
      {mayEdit && (
        <div
          class="event-end"
          onMouseEnter={() => setPaused(true)}
          onMouseLeave={() => setPaused(false)}
          onFocusOut={() => setPaused(false)}
        >
          {left === null ? (
            <button
              type="button"
              class="quiet square"
              aria-label={`Remove ${about}`}
              title="Remove"
              onClick={() => setLeft(UNDO_SECONDS)}
            >
              <Icon name="trash" />
            </button>
          ) : left > 0 ? (
            <>
              <span class="small" role="status">
                {paused ? "Waiting" : `Removing in ${left} s`}
              </span>
              <button type="button" class="small danger" onClick={() => setLeft(0)}>
                Remove now
              </button>
              <button ref={undo} type="button" class="small" onClick={() => (setLeft(null), announce("Kept"))}>
                Undo
              </button>
            </>
          ) : (
            <span class="small">Removing…</span>
          )}
        </div>
      )}
    </li>
  )
}

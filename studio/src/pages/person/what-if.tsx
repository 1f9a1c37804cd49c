import { useLocation } from "preact-iso"
import { useEffect, useState } from "preact/hooks"
import type { TabProps } from "."
import { call, path, Problem, withQuery } from "../../api/client"
import type { Answer, WhatIf } from "../../api/types"
import { useAction } from "../../api/use-api"
import { count } from "../../format"
import { announce } from "../../parts/announce"
import { CopyAs } from "../../parts/copy"
import { Dialog } from "../../parts/dialog"
import { Icon } from "../../parts/icons"
import { ItemField } from "../../parts/item-field"
import { Empty, Failure, Load, Notice, Panel, Skeleton } from "../../parts/panel"
import { Moved, RankedList } from "../../parts/ranked-list"
import { Time } from "../../parts/time"
import { useScope } from "../../session"
import { aboutOf, kindOf, useEvents } from "./events"
import { untilFresh } from "./fresh"

const K = 10

/** The list if evidence were other than it is. The question stands in the address; nothing is stored until it is asked for. */
export function Hypothesis({ person, profile }: TabProps) {
  const { query, route } = useLocation()
  const add = parse(query.add)
  const remove = parse(query.remove)
  const { first, rows: events, more, load } = useEvents(person)
  const chosen = events.filter((event) => event.frame === "events")
  const [titles, setTitles] = useState<Record<string, string>>({})
  const [answer, setAnswer] = useState<WhatIf>()
  const [error, setError] = useState<Problem>()
  const mayWrite = useScope("write")
  const url = path`/v1/people/${person}/what-if`
  const question = { add: add.map((item) => ({ item })), remove, k: K }
  const asked = JSON.stringify(question)

  function ask(change: { add?: string[]; remove?: string[] }) {
    const list = (values: string[]) => (values.length ? JSON.stringify(values) : "")
    route(
      withQuery(path`/people/${person}/what-if`, {
        add: list(change.add ?? add),
        remove: list(change.remove ?? remove),
      }),
      true,
    )
  }

  useEffect(() => {
    const stop = new AbortController()
    consider(person, url, asked, stop.signal).then(
      (told) => {
        setAnswer(told)
        setError(undefined)
        if (asked !== EMPTY) announce(`${count(told.moved.length, "item")} moved`)
      },
      (failure: unknown) =>
        stop.signal.aborted ||
        setError(failure instanceof Problem ? failure : new Problem(-1, "Unexpected", String(failure))),
    )
    return () => stop.abort()
  }, [asked, url])

  const [sure, setSure] = useState(false)
  const [keep, keeping] = useAction(async () => {
    if (add.length) await call("POST", "/v1/events", { events: add.map((item) => ({ person, item, kind: "click" })) })
    for (const id of remove) await call("DELETE", path`/v1/people/${person}/events/${id}`)
    await untilFresh(person)
    first.reload()
    profile.reload()
    setSure(false)
    ask({ add: [], remove: [] })
  })

  const changed = add.length + remove.length
  const moved = new Map(answer?.moved.map((move) => [move.item, move]))
  return (
    <div class="question">
      <Panel title="Suppose" hint="Take events away, or add what has not happened.">
        <ItemField
          label="They also chose"
          onPick={(item, title) => {
            if (title) setTitles({ ...titles, [item]: title })
            if (!add.includes(item)) ask({ add: [...add, item] })
          }}
        />
        {add.length > 0 && (
          <ul class="chips" aria-label="Added">
            {add.map((item) => (
              <li key={item} class="chip">
                + {titles[item] ?? item}
                <button
                  type="button"
                  class="quiet"
                  aria-label={`Do not add ${titles[item] ?? item}`}
                  onClick={() => ask({ add: add.filter((one) => one !== item) })}
                >
                  <Icon name="close" />
                </button>
              </li>
            ))}
          </ul>
        )}
        <fieldset>
          <legend class="label">Without these events</legend>
          <Load
            from={first}
            lines={6}
            empty={(page) => !page.items.length && <p class="muted">There are no events to take away.</p>}
          >
            {() => (
              <ul class="pick-events">
                {chosen.map((event) => (
                  <li key={event.id}>
                    <label class="check">
                      <input
                        type="checkbox"
                        checked={remove.includes(event.id)}
                        onChange={(change) =>
                          ask({
                            remove: change.currentTarget.checked
                              ? [...remove, event.id]
                              : remove.filter((id) => id !== event.id),
                          })
                        }
                      />
                      <span>
                        {aboutOf(event)}
                        <span class="muted small">
                          {kindOf(event)} · <Time at={event.time ?? event.received} relative />
                        </span>
                      </span>
                    </label>
                  </li>
                ))}
              </ul>
            )}
          </Load>
          {more && (
            <button type="button" class="more" onClick={load}>
              Older ones
            </button>
          )}
        </fieldset>
      </Panel>
      <div class="answers">
        {error && <Failure problem={error} />}
        <div class="verdict" role="group" aria-label="The question">
          <p class="headline">
            {changed ? (
              <>
                <b>{answer ? count(answer.moved.length, "item") : "…"}</b>{" "}
                {answer?.moved.length === 1 ? "moves" : "move"}. Nothing is stored.
              </>
            ) : (
              "Choose something on the left: both lists are the same so far."
            )}
          </p>
          {changed > 0 && (
            <span class="actions">
              <button type="button" onClick={() => ask({ add: [], remove: [] })}>
                Start over
              </button>
              {mayWrite && (
                <button type="button" class="primary" onClick={() => setSure(true)}>
                  Make it so…
                </button>
              )}
            </span>
          )}
        </div>
        {sure && (
          <Dialog title="Make it so?" onClose={() => setSure(false)}>
            <p>
              {add.length > 0 && `${count(add.length, "event")} will be recorded. `}
              {remove.length > 0 && <b>{count(remove.length, "event")} will be deleted for good.</b>}
            </p>
            {keeping.error && <Failure problem={keeping.error} />}
            <div class="actions end">
              <button type="button" autofocus onClick={() => setSure(false)}>
                Leave it
              </button>
              <button type="button" class="primary" disabled={keeping.pending} onClick={() => keep()}>
                {keeping.pending ? "Storing…" : "Make it so"}
              </button>
            </div>
          </Dialog>
        )}
        {answer ? (
          <div class="pair">
            <Panel title="As it is" class="own-panel">
              {answer.before.fallback && <Notice tone="warn">Population answer: {answer.before.fallback}.</Notice>}
              {!answer.before.items.length && <Empty title="An empty list.">{answer.before.note}</Empty>}
              <RankedList
                label="As it is"
                file={`${person} as it is`}
                tone="own"
                items={answer.before.items}
                beside={(pick) =>
                  changed > 0 &&
                  moved.has(pick.item) &&
                  moved.get(pick.item)!.after == null && <span class="move out">out</span>
                }
              />
            </Panel>
            <Panel title="As it would be" class="own-panel">
              {answer.after.fallback && <Notice tone="warn">Population answer: {answer.after.fallback}.</Notice>}
              {!answer.after.items.length && <Empty title="An empty list.">{answer.after.note}</Empty>}
              <RankedList
                label="As it would be"
                file={`${person} as it would be`}
                tone="own"
                items={answer.after.items}
                beside={(pick, rank) =>
                  changed > 0 && (
                    <Moved from={moved.has(pick.item) ? moved.get(pick.item)!.before : rank} to={rank} k={K} />
                  )
                }
              />
            </Panel>
          </div>
        ) : (
          !error && <Skeleton lines={10} />
        )}
        <CopyAs
          method="POST"
          url={url}
          body={question}
          python={`change = client.what_if(${JSON.stringify(person)}, add=${JSON.stringify(question.add)}, remove=${JSON.stringify(remove)}, k=${K})\nfor move in change.moved:\n    print(move.item, move.before, move.after)`}
        />
      </div>
    </div>
  )
}

/** Both lists. Without a change there is nothing to suppose: then both are what is so. */
async function consider(person: string, url: string, asked: string, signal: AbortSignal): Promise<WhatIf> {
  if (asked !== EMPTY) return call("POST", url, JSON.parse(asked), signal)
  const now = await call<Answer>(
    "GET",
    withQuery(path`/v1/people/${person}/recommendations`, { k: K }),
    undefined,
    signal,
  )
  return { person, before: now, after: now, moved: [] }
}

const EMPTY = JSON.stringify({ add: [], remove: [], k: K })

/** A list of ids out of the address; anything else counts as none. */
function parse(text: string | undefined): string[] {
  try {
    const value: unknown = JSON.parse(text ?? "[]")
    return Array.isArray(value) ? value.filter((one) => typeof one === "string") : []
  } catch {
    return []
  }
}

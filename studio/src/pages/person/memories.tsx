import { useEffect, useRef, useState } from "preact/hooks"
import type { TabProps } from "."
import { call, path } from "../../api/client"
import type { Memory, Page, Recollection, Remembered } from "../../api/types"
import { useAction, useApi } from "../../api/use-api"
import { usePages } from "../../api/use-pages"
import { usePost } from "../../api/use-post"
import { count, seconds } from "../../format"
import { announce } from "../../parts/announce"
import { CopyAs } from "../../parts/copy"
import type { CsvColumn } from "../../parts/csv"
import { Dialog } from "../../parts/dialog"
import { Badge, Icon } from "../../parts/icons"
import { ListFoot } from "../../parts/list-foot"
import { Empty, Failure, Load, Notice, Panel } from "../../parts/panel"
import { Time } from "../../parts/time"
import { useScope } from "../../session"

const COLUMNS: CsvColumn<Memory>[] = [
  { name: "id", value: (one) => one.id },
  { name: "text", value: (one) => one.text },
  { name: "kind", value: (one) => one.kind },
  { name: "said", value: (one) => one.time },
  { name: "polarity", value: (one) => one.polarity },
  { name: "subject", value: (one) => one.subject },
  { name: "value", value: (one) => one.value },
  { name: "source", value: (one) => one.source },
  { name: "confirmed", value: (one) => String(one.confirmed) },
  { name: "holds until", value: (one) => one.valid_to },
  { name: "made from", value: (one) => one.made_from.join(" ") },
  { name: "version", value: (one) => one.version },
]

/** What is remembered in words: seen, told, tried, corrected, confirmed, deleted. */
export function Memories({ person, profile }: TabProps) {
  const [history, setHistory] = useState(false)
  const base = path`/v1/people/${person}/memories`
  const pages = usePages<Memory>(base, history ? { history } : {}, 100)
  const { url, first, rows } = pages
  const mayWrite = useScope("write")
  const [said, setSaid] = useState<string>()

  const changed = (text: string) => {
    setSaid(text)
    announce(text)
    first.reload()
    profile.reload()
  }
  const waiting = rows.filter((one) => !one.confirmed)
  const others = rows.filter((one) => one.confirmed)

  return (
    <>
      {mayWrite && <Tell base={base} onTold={changed} />}
      {said && <Notice tone="good">{said}</Notice>}
      {waiting.length > 0 && (
        <Panel
          title="Waiting for confirmation"
          hint="Not said in so many words. Nothing uses them before they are confirmed."
        >
          <List base={base} memories={waiting} onChanged={changed} />
        </Panel>
      )}
      <Panel
        title="Memories"
        hint="Newest first, each with where it came from. Of two about the same thing the one said later holds."
        actions={
          <label class="check">
            <input type="checkbox" checked={history} onChange={(event) => setHistory(event.currentTarget.checked)} />
            <span>Also what no longer holds</span>
          </label>
        }
      >
        <Load
          from={first}
          lines={6}
          empty={(page) =>
            !page.items.length && (
              <Empty title="Nothing is remembered.">Tell something above, or send a chat to the API.</Empty>
            )
          }
        >
          {() => <List base={base} memories={others} onChanged={changed} />}
        </Load>
        <ListFoot of={pages} file={`memories of ${person}`} columns={COLUMNS} />
        <CopyAs
          url={url}
          python={`for memory in client.memories(${JSON.stringify(person)}).items:\n    print(memory.text, memory.source)`}
        />
      </Panel>
      <Try base={base} round={first.data} />
    </>
  )
}

/** Keep a sentence, or what a message says. */
function Tell({ base, onTold }: { base: string; onTold: (said: string) => void }) {
  const [text, setText] = useState("")
  const [whole, setWhole] = useState(false)
  const [send, sending] = useAction(async () => {
    const body = whole ? { text } : { messages: [{ role: "user", content: text }] }
    const told = await call<Remembered>("POST", base, body)
    setText("")
    const parts = [
      told.added.length && `${count(told.added.length, "memory", "memories")} kept`,
      told.known.length && `${told.known.length} known already`,
      told.replaced.length && `${told.replaced.length} no longer hold`,
    ].filter(Boolean)
    onTold(parts.length ? `${parts.join(", ")}.` : "Nothing in it is a statement about the person.")
  })
  return (
    <Panel title="Tell something">
      <form
        class="controls"
        onSubmit={(event) => {
          event.preventDefault()
          if (text.trim()) send()
        }}
      >
        <label class="grow">
          <span class="label">In the person's own words</span>
          <textarea
            rows={2}
            maxLength={8000}
            value={text}
            placeholder="I moved to Oslo. I can't stand crowded places."
            onInput={(event) => setText(event.currentTarget.value)}
          />
        </label>
        <label class="check">
          <input type="checkbox" checked={whole} onChange={(event) => setWhole(event.currentTarget.checked)} />
          <span>Keep the text as it is</span>
        </label>
        <button type="submit" class="primary" disabled={!text.trim() || sending.pending}>
          {sending.pending ? "Keeping…" : "Remember"}
        </button>
      </form>
      {sending.error && <Failure problem={sending.error} />}
    </Panel>
  )
}

interface ListProps {
  base: string
  memories: Memory[]
  onChanged: (said: string) => void
}

function List({ base, memories, onChanged }: ListProps) {
  return (
    <ol class="timeline memories">
      {memories.map((memory) => (
        <Entry key={memory.id} base={base} memory={memory} onChanged={onChanged} />
      ))}
    </ol>
  )
}

/** One memory, with what can be done about it. */
function Entry({ base, memory, onChanged }: { base: string; memory: Memory; onChanged: (said: string) => void }) {
  const mayEdit = useScope("profile")
  const [open, setOpen] = useState<"edit" | "forget" | "history">()
  const url = base + path`/${memory.id}`
  const [confirm, confirming] = useAction(async () => {
    await call("POST", `${url}/confirm`, { right: true })
    onChanged("Confirmed: it is used from now on.")
  })
  const over = Boolean(memory.valid_to)
  return (
    <li class={over ? "going" : undefined}>
      <div class="event-main">
        <span class="kind">{memory.kind}</span>
        <span class="about">{memory.text}</span>
        {memory.polarity !== 0 && (
          <Badge tone={memory.polarity > 0 ? "good" : "bad"}>{memory.polarity > 0 ? "likes" : "dislikes"}</Badge>
        )}
      </div>
      <div class="event-facts small muted">
        <span>
          said <Time at={memory.time} />
        </span>
        <span>from {memory.source || "unknown"}</span>
        {memory.subject && memory.kind !== "summary" && (
          <span>
            about {memory.subject}
            {memory.value && `: ${memory.value}`}
          </span>
        )}
        {memory.made_from.length > 0 && <span>made from {count(memory.made_from.length, "memory", "memories")}</span>}
        {memory.recalled_from.length > 0 && (
          <span>said with {count(memory.recalled_from.length, "memory", "memories")} in view</span>
        )}
        {over && (
          <span>
            held until <Time at={memory.valid_to!} />
          </span>
        )}
        {memory.version > 1 && (
          <button type="button" class="link small" onClick={() => setOpen("history")}>
            {memory.version} versions
          </button>
        )}
      </div>
      {mayEdit && (
        <div class="event-end">
          {!memory.confirmed && (
            <button type="button" class="small" disabled={confirming.pending} onClick={() => confirm()}>
              Confirm
            </button>
          )}
          {!over && (
            <button
              type="button"
              class="quiet small"
              aria-label={`Edit: ${memory.text}`}
              onClick={() => setOpen("edit")}
            >
              Edit
            </button>
          )}
          <button
            type="button"
            class="quiet square"
            aria-label={`Forget: ${memory.text}`}
            title="Forget"
            onClick={() => setOpen("forget")}
          >
            <Icon name="trash" />
          </button>
        </div>
      )}
      {confirming.error && <Failure problem={confirming.error} />}
      {open === "edit" && <Edit url={url} memory={memory} onClose={() => setOpen(undefined)} onChanged={onChanged} />}
      {open === "forget" && (
        <Forget url={url} memory={memory} onClose={() => setOpen(undefined)} onChanged={onChanged} />
      )}
      {open === "history" && <Versions url={url} onClose={() => setOpen(undefined)} />}
    </li>
  )
}

interface ActProps {
  url: string
  memory: Memory
  onClose: () => void
  onChanged: (said: string) => void
}

function Edit({ url, memory, onClose, onChanged }: ActProps) {
  const [text, setText] = useState(memory.text)
  const field = useRef<HTMLTextAreaElement>(null)
  useEffect(() => field.current?.focus(), [])
  const [save, saving] = useAction(async () => {
    await call("PATCH", url, { text })
    onClose()
    onChanged("Corrected. What it said before is in its history.")
  })
  return (
    <Dialog title="Correct this memory" onClose={onClose}>
      <form
        class="stack"
        onSubmit={(event) => {
          event.preventDefault()
          save()
        }}
      >
        <label>
          <span class="label">What it should say</span>
          <textarea
            ref={field}
            rows={3}
            maxLength={8000}
            value={text}
            onInput={(event) => setText(event.currentTarget.value)}
          />
        </label>
        {saving.error && <Failure problem={saving.error} />}
        <div class="actions">
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="primary" disabled={!text.trim() || text === memory.text || saving.pending}>
            {saving.pending ? "Saving…" : "Save"}
          </button>
        </div>
      </form>
    </Dialog>
  )
}

function Forget({ url, memory, onClose, onChanged }: ActProps) {
  const [forget, forgetting] = useAction(async () => {
    const { removed } = await call<{ removed: number }>("DELETE", url)
    onClose()
    onChanged(
      removed > 1 ? `Forgotten, with ${count(removed - 1, "summary", "summaries")} made from it.` : "Forgotten.",
    )
  })
  return (
    <Dialog title="Forget this memory?" onClose={onClose}>
      <p class="about">{memory.text}</p>
      <p class="muted">
        It is deleted for good, with all its versions and every summary that was made from it. What it had replaced
        stays history.
      </p>
      {forgetting.error && <Failure problem={forgetting.error} />}
      <div class="actions">
        <button type="button" onClick={onClose}>
          Keep it
        </button>
        <button type="button" class="danger" disabled={forgetting.pending} onClick={() => forget()}>
          {forgetting.pending ? "Forgetting…" : "Forget"}
        </button>
      </div>
    </Dialog>
  )
}

function Versions({ url, onClose }: { url: string; onClose: () => void }) {
  const versions = useApi<Page<Memory>>(`${url}/history`)
  return (
    <Dialog title="What this memory said" onClose={onClose}>
      <Load from={versions}>
        {(page) => (
          <ol class="timeline">
            {page.items.map((one) => (
              <li key={one.version}>
                <div class="event-main">
                  <span class="kind">{one.change}</span>
                  <span class="about">{one.text}</span>
                </div>
                <div class="event-facts small muted">
                  <span>version {one.version}</span>
                  <span>from {one.source || "unknown"}</span>
                  {!one.confirmed && <span>not confirmed</span>}
                  {one.valid_to && (
                    <span>
                      held until <Time at={one.valid_to} />
                    </span>
                  )}
                </div>
              </li>
            ))}
          </ol>
        )}
      </Load>
    </Dialog>
  )
}

/** What a writer would be given for a question. `round` changes when memories have. */
function Try({ base, round }: { base: string; round: unknown }) {
  const [query, setQuery] = useState("")
  const [asked, setAsked] = useState<string>()
  const found = usePost<Recollection>(`${base}/recall`, asked ? { query: asked, k: 5 } : null)
  useEffect(() => {
    if (asked) found.reload()
  }, [round])
  return (
    <Panel title="Try a question" hint="What would be recalled for it, and what each part adds to the score.">
      <form
        class="controls"
        onSubmit={(event) => {
          event.preventDefault()
          setAsked(query.trim() || undefined)
        }}
      >
        <label class="grow">
          <span class="label">Question</span>
          <input
            value={query}
            maxLength={1000}
            placeholder="Which restaurant should I book?"
            onInput={(event) => setQuery(event.currentTarget.value)}
          />
        </label>
        <button type="submit" disabled={!query.trim() || found.loading}>
          Recall
        </button>
      </form>
      {asked && (
        <Load
          from={found}
          empty={(answer) => !answer.memories.length && <Empty title={answer.fallback ?? "Nothing is remembered."} />}
        >
          {(answer) => (
            <>
              <ol class="timeline">
                {answer.memories.map(({ memory, score, parts }) => (
                  <li key={memory.id}>
                    <div class="event-main">
                      <span class="about">{memory.text}</span>
                      <span class="small">{score.toFixed(3)}</span>
                    </div>
                    <div class="event-facts small muted">
                      {Object.entries(parts)
                        .filter(([, value]) => Math.abs(value) >= 0.0005)
                        .map(([name, value]) => (
                          <span key={name}>
                            {name} {value.toFixed(3)}
                          </span>
                        ))}
                    </div>
                  </li>
                ))}
              </ol>
              <p class="small muted">{seconds(answer.seconds)}</p>
            </>
          )}
        </Load>
      )}
    </Panel>
  )
}

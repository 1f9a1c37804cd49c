import { useLocation } from "preact-iso"
import { useEffect, useState } from "preact/hooks"
import { call, path, withQuery } from "../api/client"
import type { Page, PersonCard } from "../api/types"
import { useAction, useApi } from "../api/use-api"
import { bytes, count } from "../format"
import { CopyAs } from "../parts/copy"
import { Badge } from "../parts/icons"
import { Empty, Failure, Load, Panel } from "../parts/panel"
import { Table, type Column } from "../parts/table"
import { Time } from "../parts/time"
import { useTitle } from "../title"

const PAGE = 50

const COLUMNS: Column<PersonCard>[] = [
  {
    name: "Person",
    cell: (one) => (
      <a href={path`/people/${one.person}`}>
        {one.name ?? one.person}
        {one.name && <span class="muted small"> {one.person}</span>}
      </a>
    ),
  },
  { name: "Records", number: true, cell: (one) => count(one.records) },
  { name: "Last record", cell: (one) => <Time at={one.last} relative /> },
  { name: "First record", wide: true, cell: (one) => <Time at={one.first} /> },
  { name: "Stored", number: true, wide: true, cell: (one) => bytes(one.bytes) },
  {
    name: "Recommending",
    wide: true,
    cell: (one) => (one.consents.recommend === false ? <Badge tone="bad">refused</Badge> : "allowed"),
  },
  {
    name: "Training",
    wide: true,
    cell: (one) => (one.consents.train ? "allowed" : <span class="muted">not given</span>),
  },
]

export function People() {
  useTitle("People")
  const { query, route } = useLocation()
  const wanted = query.query ?? ""
  const [text, setText] = useState(wanted)
  const url = withQuery("/v1/people", { query: wanted, limit: PAGE })
  const people = useApi<Page<PersonCard>>(url)
  const [more, setMore] = useState<Page<PersonCard>[]>([])
  useEffect(() => setMore([]), [people.data])
  useEffect(() => {
    if (text.trim() === wanted) return
    const timer = setTimeout(() => route(withQuery("/people", { query: text.trim() }), true), 200)
    return () => clearTimeout(timer)
  }, [text])

  const next = more.length ? more.at(-1)!.next : people.data?.next
  const [load, loading] = useAction(async () => {
    const page = await call<Page<PersonCard>>(
      "GET",
      withQuery("/v1/people", { query: wanted, limit: PAGE, after: next }),
    )
    setMore([...more, page])
  })

  return (
    <>
      <h1>People</h1>
      <Panel title="Everybody with stored evidence" hint="Arrow keys move, Enter opens.">
        <div class="field">
          <label class="label" for="people-query">
            Search
          </label>
          <input
            id="people-query"
            type="search"
            placeholder="An id, or a part of one"
            value={text}
            onInput={(event) => setText(event.currentTarget.value)}
          />
        </div>
        <Load
          from={people}
          lines={8}
          empty={(page) =>
            !page.items.length &&
            (wanted ? (
              <Empty title={`Nobody matches “${wanted}”.`}>
                <a href={path`/people/${wanted}`}>Open it as an id all the same</a>: unknown people get everybody's
                answer.
              </Empty>
            ) : (
              <Empty title="Nobody yet.">Send a first event, and the person is here.</Empty>
            ))
          }
        >
          {(page) => (
            <Table
              caption="People"
              columns={COLUMNS}
              rows={[page, ...more].flatMap((one) => one.items)}
              id={(one) => one.person}
            />
          )}
        </Load>
        {loading.error && <Failure problem={loading.error} />}
        {next && people.data && (
          <button type="button" class="more" disabled={loading.pending} onClick={() => load()}>
            {loading.pending ? "Loading…" : `${PAGE} more`}
          </button>
        )}
        <CopyAs
          url={url}
          python={`for one in client.people(${wanted ? `query=${JSON.stringify(wanted)}` : ""}).items:\n    print(one.person, one.records)`}
        />
      </Panel>
    </>
  )
}

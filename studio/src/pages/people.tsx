import { useLocation } from "preact-iso"
import { useEffect, useState } from "preact/hooks"
import { path, withQuery } from "../api/client"
import type { PersonCard, Status } from "../api/types"
import { useApi } from "../api/use-api"
import { usePages } from "../api/use-pages"
import { bytes, count } from "../format"
import { CopyAs } from "../parts/copy"
import { Badge } from "../parts/icons"
import { Empty, Load, Panel } from "../parts/panel"
import { Table, type Column } from "../parts/table"
import { Time } from "../parts/time"
import { useScope } from "../session"
import { useTitle } from "../title"

const PAGE = 200

const allowed = (granted: boolean | undefined) => (granted ? "allowed" : "not given")

const COLUMNS: Column<PersonCard>[] = [
  {
    name: "Person",
    room: "broad",
    value: (one) => one.person,
    cell: (one) => (
      <a href={path`/people/${one.person}`} title={one.person}>
        {one.name ?? one.person}
        {one.name && <span class="muted small"> {one.person}</span>}
      </a>
    ),
  },
  { name: "Records", number: true, room: "narrow", value: (one) => one.records, cell: (one) => count(one.records) },
  { name: "Last", value: (one) => one.last, cell: (one) => <Time at={one.last} relative /> },
  { name: "First", wide: true, value: (one) => one.first, cell: (one) => <Time at={one.first} relative /> },
  {
    name: "Stored",
    number: true,
    wide: true,
    room: "narrow",
    value: (one) => one.bytes,
    cell: (one) => bytes(one.bytes),
  },
  {
    name: "Recommend",
    wide: true,
    value: (one) => (one.consents.recommend === false ? "refused" : "allowed"),
    cell: (one) => (one.consents.recommend === false ? <Badge tone="bad">refused</Badge> : "allowed"),
  },
  {
    name: "Train",
    wide: true,
    value: (one) => allowed(one.consents.train),
    cell: (one) => (one.consents.train ? "allowed" : <span class="muted">not given</span>),
  },
]

export function People() {
  useTitle("People")
  const { query, route } = useLocation()
  const wanted = query.query ?? ""
  const [text, setText] = useState(wanted)
  const people = usePages<PersonCard>("/v1/people", { query: wanted }, PAGE)
  const status = useApi<Status>(useScope("models") && !wanted ? "/v1/status" : null)
  useEffect(() => {
    if (text.trim() === wanted) return
    const timer = setTimeout(() => route(withQuery("/people", { query: text.trim() }), true), 200)
    return () => clearTimeout(timer)
  }, [text])

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
          from={people.first}
          lines={8}
          empty={(page) =>
            !page.items.length &&
            (wanted ? (
              <Empty title={`Nobody matches “${wanted}”.`}>
                <a href={path`/people/${wanted}`}>Open it as an id all the same</a>: unknown people get everybody's
                answer.
              </Empty>
            ) : (
              <Empty title="Nobody yet.">
                Send a first event, or <a href="/data">import a file</a>, and the person is here.
              </Empty>
            ))
          }
        >
          {() => (
            <Table
              long
              caption="People"
              columns={COLUMNS}
              rows={people.rows}
              pages={people}
              total={wanted ? undefined : status.data?.counts.people}
              id={(one) => one.person}
            />
          )}
        </Load>
        <CopyAs
          url={people.url}
          python={`for one in client.people(${wanted ? `query=${JSON.stringify(wanted)}` : ""}).items:\n    print(one.person, one.records)`}
        />
      </Panel>
    </>
  )
}

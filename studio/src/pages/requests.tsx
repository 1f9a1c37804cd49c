import { useState } from "preact/hooks"
import type { Page, Request } from "../api/types"
import { useApi } from "../api/use-api"
import { seconds } from "../format"
import { CopyAs, CopyButton } from "../parts/copy"
import { Badge } from "../parts/icons"
import { Empty, Load, Panel } from "../parts/panel"
import { Table } from "../parts/table"
import { Time } from "../parts/time"
import { useTitle } from "../title"

const EVERY_MS = 3000

export function Requests() {
  useTitle("Requests")
  const [live, setLive] = useState(true)
  const [text, setText] = useState("")
  const [failures, setFailures] = useState(false)
  const requests = useApi<Page<Request>>("/v1/requests?limit=1000", live ? EVERY_MS : 0)
  const fits = (one: Request) =>
    (!failures || one.status >= 400) &&
    `${one.method} ${one.route} ${one.status} ${one.request_id}`.toLowerCase().includes(text.trim().toLowerCase())
  return (
    <>
      <h1>Requests</h1>
      <Panel
        title="The newest requests of this process"
        hint="At most 500, in memory only. Routes, never whom they were about."
        actions={
          <label class="check">
            <input type="checkbox" checked={live} onChange={(event) => setLive(event.currentTarget.checked)} />
            Live
          </label>
        }
      >
        <div class="controls">
          <label class="grow">
            <span class="label">Filter</span>
            <input
              type="search"
              value={text}
              placeholder="route, status or request id"
              onInput={(event) => setText(event.currentTarget.value)}
            />
          </label>
          <label class="check">
            <input type="checkbox" checked={failures} onChange={(event) => setFailures(event.currentTarget.checked)} />
            Only failed ones
          </label>
        </div>
        <Load from={requests} lines={10} empty={(page) => !page.items.length && <Empty title="No request yet." />}>
          {(page) => {
            const rows = page.items.filter(fits)
            return rows.length ? (
              <Table
                long
                caption="Requests"
                rows={rows}
                id={(one) => one.request_id}
                columns={[
                  {
                    name: "Route",
                    room: "broad",
                    value: (one) => `${one.method} ${one.route}`,
                    cell: (one) => (
                      <code class="route">
                        <b>{one.method}</b> {one.route}
                      </code>
                    ),
                  },
                  {
                    name: "Status",
                    room: "narrow",
                    value: (one) => one.status,
                    cell: (one) => (
                      <Badge tone={one.status >= 500 ? "bad" : one.status >= 400 ? "warn" : "good"}>{one.status}</Badge>
                    ),
                  },
                  {
                    name: "Took",
                    number: true,
                    room: "narrow",
                    value: (one) => one.ms / 1000,
                    cell: (one) => seconds(one.ms / 1000),
                  },
                  { name: "Time", wide: true, value: (one) => one.time, cell: (one) => <Time at={one.time} /> },
                  {
                    name: "Request",
                    value: (one) => one.request_id,
                    wide: true,
                    cell: (one) => <CopyButton text={one.request_id} label={one.request_id.slice(0, 12)} quiet />,
                  },
                ]}
              />
            ) : (
              <p class="muted">Nothing fits the filter.</p>
            )
          }}
        </Load>
        <CopyAs url="/v1/requests" />
      </Panel>
    </>
  )
}

import { useState } from "preact/hooks"
import { call, type Problem } from "../api/client"
import type { AuditLine, Data, Limits, ModelCard, Page } from "../api/types"
import { useAction, useApi } from "../api/use-api"
import { bytes, count, plain, seconds, short } from "../format"
import { announce } from "../parts/announce"
import { CopyAs } from "../parts/copy"
import { Dialog } from "../parts/dialog"
import { Empty, Fact, Failure, Load, Notice, Panel } from "../parts/panel"
import { Table, type Column } from "../parts/table"
import { THEMES, useTheme } from "../parts/theme"
import { Time } from "../parts/time"
import { PURPOSES } from "../purposes"
import { useScope } from "../session"
import { useTitle } from "../title"
import { Kinds } from "./kinds"
import { Retention } from "./retention"

/** What holds for everybody of the tenant. Whatever changes here is asked about first and kept in the audit. */
export function Settings() {
  useTitle("Settings")
  const admin = useScope("admin")
  const models = useScope("models")
  const data = useApi<Data>(models ? "/v1/data" : null)
  const audit = useApi<Page<AuditLine>>(admin ? "/v1/audit?limit=1000" : null)
  return (
    <>
      <h1>Settings</h1>
      <Appearance />
      {admin && <Consents changed={audit.reload} />}
      {admin && <Retention data={data.data} changed={audit.reload} />}
      {models && <Kinds data={data.data} changed={audit.reload} />}
      {models && <Model />}
      {admin && <Allowed />}
      {admin ? (
        <Done audit={audit} />
      ) : (
        <Notice>Consents, retention, limits and the audit need a key with the scope “admin”.</Notice>
      )}
    </>
  )
}

function Appearance() {
  const [theme, choose] = useTheme()
  return (
    <Panel title="Appearance" hint="Kept in this browser alone.">
      <fieldset class="choices">
        <legend class="label">Theme</legend>
        {THEMES.map((one) => (
          <label key={one} class="check">
            <input type="radio" name="theme" checked={theme === one} onChange={() => choose(one)} />
            <span>{one === "auto" ? "as the system" : one}</span>
          </label>
        ))}
      </fieldset>
    </Panel>
  )
}

interface Defaults {
  purposes: Record<string, boolean>
}

function Consents({ changed }: { changed: () => void }) {
  const defaults = useApi<Defaults>("/v1/consents")
  const [asked, setAsked] = useState<{ purpose: string; granted: boolean }>()
  return (
    <Panel
      title="What is assumed of everybody"
      hint="Until a person says something herself, which always counts before this."
    >
      <Load from={defaults} lines={8}>
        {({ purposes }) => (
          <ul class="consents">
            {Object.entries(purposes).map(([purpose, granted]) => (
              <li key={purpose}>
                <label class="switch">
                  <input
                    type="checkbox"
                    role="switch"
                    checked={granted}
                    onChange={(event) => {
                      // It turns when it is done, not when it is asked for.
                      event.currentTarget.checked = granted
                      setAsked({ purpose, granted: !granted })
                    }}
                  />
                  <span class="switch-text">
                    <b>{purpose}</b> <span class="muted">{PURPOSES[purpose]}</span>
                  </span>
                  <span class="switch-state small">
                    <b>{granted ? "allowed" : "not allowed"}</b>
                  </span>
                </label>
              </li>
            ))}
          </ul>
        )}
      </Load>
      <CopyAs
        method="PUT"
        url="/v1/consents"
        body={{ purposes: { train: true } }}
        python={'client.default_consents({"train": True})'}
      />
      {asked && (
        <Sure
          title={`${asked.granted ? "Allow" : "Do not allow"} “${asked.purpose}” by default?`}
          yes={asked.granted ? "Allow it" : "Do not allow it"}
          danger={!asked.granted}
          onClose={() => setAsked(undefined)}
          onYes={async () => {
            await call("PUT", "/v1/consents", { purposes: { [asked.purpose]: asked.granted } })
            announce(`${asked.purpose}: ${asked.granted ? "allowed" : "not allowed"} by default`)
            defaults.reload()
            changed()
          }}
        >
          <p>
            {PURPOSES[asked.purpose]} This holds for everybody who has not said anything, from the next answer on;
            everybody's state is looked at again.
          </p>
          {asked.granted && ["train", "share"].includes(asked.purpose) && (
            <Notice tone="warn">Do it only where the terms that people agreed to cover it.</Notice>
          )}
        </Sure>
      )}
    </Panel>
  )
}

interface SureProps {
  title: string
  yes: string
  danger?: boolean
  onClose: () => void
  onYes: () => Promise<void>
  children: preact.ComponentChildren
}

/** Asks once more, and stays open with what went wrong. */
export function Sure({ title, yes, danger, onClose, onYes, children }: SureProps) {
  const [go, going] = useAction(async () => {
    await onYes()
    onClose()
  })
  return (
    <Dialog title={title} onClose={onClose}>
      {children}
      {going.error && <Failure problem={going.error} />}
      <div class="actions end">
        <button type="button" autofocus onClick={onClose}>
          Leave it
        </button>
        <button type="button" class={danger ? "danger" : "primary"} disabled={going.pending} onClick={() => go()}>
          {going.pending ? "Changing…" : yes}
        </button>
      </div>
    </Dialog>
  )
}

function Model() {
  const models = useApi<Page<ModelCard>>("/v1/models")
  return (
    <Panel
      title="Model"
      hint="How it was fitted cannot be changed; another one is fitted beside it."
      actions={<a href="/models">Models</a>}
    >
      <Load
        from={models}
        lines={2}
        empty={(page) => !page.items.some((one) => one.status === "active") && <Empty title="No model is active." />}
      >
        {(page) => (
          <>
            {page.items
              .filter((one) => one.status === "active")
              .sort((a, b) => a.verb.localeCompare(b.verb))
              .map((card) => (
                <dl key={card.verb} class="facts">
                  <Fact
                    name={card.verb === "search" ? "For searching" : "For lists"}
                    value={card.method}
                    note={short(card.fingerprint)}
                  />
                  <Fact
                    name="Fitted"
                    value={<Time at={card.made} relative />}
                    note={`from ${count(card.people, "person", "people")}`}
                  />
                  {Object.entries((card.report.settings ?? {}) as Record<string, unknown>).map(([name, value]) => (
                    <Fact key={name} name={name.replaceAll("_", " ")} value={plain(value)} />
                  ))}
                </dl>
              ))}
          </>
        )}
      </Load>
    </Panel>
  )
}

const rate = (value: string | null) =>
  value?.replace(/^(\d+)\/(\w+)$/, (_, number: string, unit: string) => `${count(Number(number))} a ${unit}`) ??
  "no limit"

/** Names of the server's limits, and how their values are read. */
const SERVER: [string, string, (value: never) => string][] = [
  ["rate", "Requests of a key", rate],
  ["body_bytes", "Largest request", bytes],
  ["bulk_bytes", "Events or items at once", bytes],
  ["bulk_rows", "Rows at once", count],
  ["import_bytes", "Largest file", bytes],
  ["body_seconds", "Time to send a request", seconds],
  ["open_requests", "Open requests", count],
  ["streams", "Jobs followed at once", count],
  ["key_seconds", "A key is believed for", seconds],
  ["origins", "Web origins that may call", (value: string[]) => value.join(", ") || "none"],
  ["open_metrics", "Metrics without a key", (value: boolean) => (value ? "yes" : "no")],
  ["dev", "Keys", (value: boolean) => (value ? "none needed (--dev)" : "needed")],
]
const STORE: [string, string, (value: never) => string][] = [
  ["database", "Database", String],
  ["record_bytes", "Largest record", bytes],
  ["events_per_state", "Newest events in a state", count],
  ["state_versions", "Versions of a state", count],
  ["purge_seconds", "Retention is applied every", seconds],
  ["waiting_jobs", "Jobs waiting", count],
  ["audit_lines", "Lines of audit", count],
]

function Allowed() {
  const limits = useApi<Limits>("/v1/limits")
  const facts = (names: typeof SERVER, told: Record<string, unknown>) => (
    <dl class="facts">
      {names.map(
        ([key, name, show]) =>
          told[key] !== undefined && <Fact key={key} name={name} value={show(told[key] as never)} />,
      )}
    </dl>
  )
  return (
    <Panel
      title="Limits"
      hint="Set where the server is started, with SARTOR_SERVE_… in its environment."
      actions={<a href="/keys">Keys &amp; access</a>}
    >
      <Load from={limits} lines={5}>
        {(told) => (
          <>
            {facts(SERVER, told.server)}
            <h3>Of the store</h3>
            {facts(STORE, told.store)}
          </>
        )}
      </Load>
      <CopyAs url="/v1/limits" />
    </Panel>
  )
}

const LINES: Column<AuditLine>[] = [
  { name: "Action", value: (one) => one.action },
  { name: "Time", value: (one) => one.time, cell: (one) => <Time at={one.time} relative /> },
  {
    name: "Of a person",
    wide: true,
    value: (one) => one.about,
    cell: (one) => (one.about ? "yes" : "no"),
  },
  {
    name: "What",
    room: "broad",
    value: (one) => JSON.stringify(one.detail),
    cell: (one) => {
      const text = Object.entries(one.detail)
        .map(([name, value]) => `${name}: ${plain(value)}`)
        .join(" · ")
      return <span title={text}>{text}</span>
    },
  },
]

function Done({
  audit,
}: {
  audit: { data: Page<AuditLine> | undefined; error: Problem | undefined; loading: boolean; reload: () => void }
}) {
  return (
    <Panel title="Audit" hint="What was done, newest first, at most 1,000 lines: never about whom, never what it held.">
      <Load from={audit} lines={6} empty={(page) => !page.items.length && <Empty title="Nothing was done yet." />}>
        {(page) => {
          const rows = page.items.map((line, at) => ({ ...line, at }))
          return (
            <Table long caption="Audit" columns={LINES} rows={rows} id={(one) => String((one as { at?: number }).at)} />
          )
        }}
      </Load>
      <CopyAs url="/v1/audit" />
    </Panel>
  )
}

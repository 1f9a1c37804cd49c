import type { TabProps } from "."
import { call, path } from "../../api/client"
import type { Page, Profile, StateCard } from "../../api/types"
import { useAction, useApi } from "../../api/use-api"
import { bytes, count, plain, seconds, short } from "../../format"
import { CopyAs } from "../../parts/copy"
import { Badge } from "../../parts/icons"
import { Empty, Fact, Failure, Load, Panel } from "../../parts/panel"
import { Table, type Column } from "../../parts/table"
import { Time } from "../../parts/time"
import { useScope } from "../../session"
import { Bars } from "./bars"

export function Known({ person, profile }: TabProps) {
  const url = path`/v1/people/${person}`
  if (profile.error?.status === 404) return null
  return (
    <>
      <Load from={profile} lines={6}>
        {(known) => (
          <>
            <Panel title="In words">
              {known.sentences.length ? (
                <ul class="sentences">
                  {known.sentences.map((sentence) => (
                    <li key={sentence}>{sentence}</li>
                  ))}
                </ul>
              ) : (
                <p class="muted">Nothing can be said yet.</p>
              )}
              <CopyAs url={url} python={`print(client.profile(${JSON.stringify(person)}))`} />
            </Panel>
            <div class="pair">
              <Panel title="Chosen most" hint="Counts of recorded events.">
                <Bars
                  rows={known.top_items.map((one) => ({
                    id: String(one.item),
                    name: one.title || String(one.item),
                    count: one.count,
                  }))}
                  unit="event"
                />
              </Panel>
              <Panel title="Categories" hint="Of the chosen items, counted once per event.">
                <Bars
                  rows={known.top_categories.map((one) => ({ id: one.category, name: one.category, count: one.count }))}
                  unit="event"
                />
              </Panel>
            </div>
            <Attributes known={known} />
            <KeptState state={known.state} />
          </>
        )}
      </Load>
      <Versions person={person} changed={profile.reload} />
    </>
  )
}

function Attributes({ known }: { known: Profile }) {
  const all = Object.entries(known.attributes ?? {})
  if (!all.length) return null
  return (
    <Panel title="Attributes" hint="Told to us about the person, not learned.">
      <dl class="facts">
        {all.map(([name, value]) => (
          <Fact key={name} name={name} value={plain(value)} />
        ))}
      </dl>
    </Panel>
  )
}

function KeptState({ state }: { state: StateCard | null | undefined }) {
  if (!state)
    return (
      <Panel title="Personal state">
        <Empty title="No state is kept.">Until there is one, everybody's answer is given.</Empty>
      </Panel>
    )
  return (
    <Panel title="Personal state" hint="All that a model keeps of this person, by name and size.">
      <dl class="facts">
        <Fact name="Size" value={bytes(state.bytes)} />
        <Fact name="Learned from" value={count(state.examples, "example")} />
        <Fact name="Age" value={seconds(state.age_seconds)} note={<Time at={state.made} />} />
        <Fact name="Version" value={state.version} note={state.held ? "held" : "newest"} />
        <Fact name="Not yet in it" value={count(state.lag ?? 0, "record")} />
        <Fact name="Model" value={state.method} note={short(state.model)} />
      </dl>
      <Table
        caption="What the state is made of"
        rows={state.arrays}
        id={(array) => array.name}
        columns={[
          { name: "Kept", value: (array) => array.name },
          { name: "Type", value: (array) => array.dtype },
          {
            name: "Shape",
            value: (array) => array.shape.join(" × "),
            cell: (array) => array.shape.join(" × ") || "one number",
          },
          { name: "Size", number: true, value: (array) => array.bytes, cell: (array) => bytes(array.bytes) },
        ]}
      />
    </Panel>
  )
}

/** Earlier states; one of them can be brought back and held, so that new evidence does not replace it. */
function Versions({ person, changed }: { person: string; changed: () => void }) {
  const versions = useApi<Page<StateCard>>(path`/v1/people/${person}/states`)
  const mayEdit = useScope("profile")
  const done = () => {
    versions.reload()
    changed()
  }
  const [restore, restoring] = useAction(async (version: number) => {
    await call("POST", path`/v1/people/${person}/states/${version}/restore`)
    done()
  })
  const [release, releasing] = useAction(async () => {
    await call("POST", path`/v1/people/${person}/release`)
    done()
  })
  const held = versions.data?.items.some((one) => one.held)
  const busy = restoring.pending || releasing.pending
  const columns: Column<StateCard>[] = [
    {
      name: "Version",
      value: (one) => one.version,
      cell: (one) => (
        <span class="version">
          v{one.version} {one.current && <Badge tone="good">in use</Badge>}{" "}
          {one.held && <Badge tone="warn">held</Badge>}
        </span>
      ),
    },
    { name: "Made", value: (one) => one.made, cell: (one) => <Time at={one.made} relative /> },
    { name: "Examples", number: true, value: (one) => one.examples, cell: (one) => count(one.examples) },
    { name: "Size", number: true, value: (one) => one.bytes, cell: (one) => bytes(one.bytes) },
    { name: "Model", wide: true, value: (one) => `${one.method} ${short(one.model)}` },
    {
      name: "From",
      wide: true,
      value: (one) => (one.restored_from != null ? `restored from v${one.restored_from}` : "evidence"),
    },
    ...(mayEdit
      ? [
          {
            name: "Action",
            cell: (one: StateCard) =>
              one.current ? null : (
                <button
                  type="button"
                  class="small"
                  disabled={busy}
                  aria-label={`Restore version ${one.version} and hold it`}
                  onClick={() => restore(one.version)}
                >
                  Restore
                </button>
              ),
          },
        ]
      : []),
  ]
  return (
    <Panel
      title="Versions"
      hint="Restoring an old one holds it: new evidence is stored, but the state stays until it is released."
      actions={
        held && (
          <button type="button" disabled={busy} onClick={() => release()}>
            Release the held state
          </button>
        )
      }
    >
      {(restoring.error ?? releasing.error) && <Failure problem={(restoring.error ?? releasing.error)!} />}
      <Load from={versions} empty={(page) => !page.items.length && <p class="muted">No state has been made yet.</p>}>
        {(page) => (
          <Table
            caption="Versions of the state"
            rows={page.items}
            id={(one) => `${one.version} ${one.model}`}
            columns={columns}
          />
        )}
      </Load>
    </Panel>
  )
}

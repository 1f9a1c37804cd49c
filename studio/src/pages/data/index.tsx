import type { Data } from "../../api/types"
import { useApi } from "../../api/use-api"
import { bytes, count } from "../../format"
import { CopyAs } from "../../parts/copy"
import { Fact, Load, Notice, Panel } from "../../parts/panel"
import { Table, type Column } from "../../parts/table"
import { Time } from "../../parts/time"
import { useScope } from "../../session"
import { useTitle } from "../../title"
import { Catalogue } from "./catalogue"
import { Import } from "./import"

/** What there is, a way in for files, and the catalogue. */
export function DataPage() {
  useTitle("Data")
  const mayDescribe = useScope("models")
  const mayWrite = useScope("write")
  const data = useApi<Data>(mayDescribe ? "/v1/data" : null)
  return (
    <>
      <h1>Data</h1>
      {mayDescribe && (
        <Panel
          title="What is here"
          hint="Everything of this tenant. Kinds that fewer than 5 people have are only counted."
        >
          <Load from={data} lines={6}>
            {(told) => <Described told={told} />}
          </Load>
          <CopyAs url="/v1/data" />
        </Panel>
      )}
      {mayWrite ? (
        <Import onEnd={data.reload} />
      ) : (
        <Notice>Importing files and changing the catalogue need a key with the scope “write”.</Notice>
      )}
      <Catalogue total={data.data?.counts.items} changed={data.reload} />
    </>
  )
}

type Kind = Data["kinds"][number]

const KINDS: Column<Kind>[] = [
  {
    name: "Kind",
    value: (one) => [one.frame, one.kind].filter(Boolean).join(": "),
    cell: (one) => (
      <>
        {one.kind ?? <span class="muted">without a kind</span>}
        {one.frame !== "events" && <span class="muted small"> {one.frame}</span>}
      </>
    ),
  },
  { name: "Records", number: true, value: (one) => one.records, cell: (one) => count(one.records) },
  {
    name: "People",
    number: true,
    value: (one) => one.people,
    cell: (one) => (one.people == null ? <span class="muted">under 5</span> : count(one.people)),
  },
  { name: "First", wide: true, value: (one) => one.first, cell: (one) => <Time at={one.first} /> },
  { name: "Last", value: (one) => one.last, cell: (one) => <Time at={one.last} relative /> },
  {
    name: "Without a time",
    wide: true,
    number: true,
    value: (one) => one.untimed,
    cell: (one) => (one.untimed ? count(one.untimed) : "–"),
  },
]

const ATTRIBUTES: Column<Data["attributes"][number]>[] = [
  { name: "Attribute", value: (one) => one.name },
  { name: "Type", value: (one) => one.kind, cell: (one) => <code>{one.kind}</code> },
  { name: "Items that have it", number: true, value: (one) => one.items, cell: (one) => count(one.items) },
]

function Described({ told }: { told: Data }) {
  const { counts } = told
  return (
    <>
      <dl class="facts">
        <Fact name="People" value={<a href="/people">{count(counts.people)}</a>} />
        <Fact name="Records" value={count(counts.records)} note={`${bytes(counts.bytes)} with states`} />
        <Fact name="Items" value={count(counts.items)} note={told.hidden ? `${count(told.hidden)} hidden` : null} />
        <Fact name="First record" value={<Time at={told.first} relative />} note={told.first?.slice(0, 10)} />
        <Fact name="Last record" value={<Time at={told.last} relative />} note={told.last?.slice(0, 10)} />
      </dl>
      {told.kinds.length > 0 && (
        <Table
          caption="Kinds of records"
          rows={told.kinds}
          columns={KINDS}
          id={(one) => `${one.frame} ${one.kind ?? ""}`}
        />
      )}
      {told.attributes.length > 0 && (
        <details>
          <summary>What is known of items: {count(told.attributes.length, "attribute")}</summary>
          <Table caption="Attributes of items" rows={told.attributes} columns={ATTRIBUTES} id={(one) => one.name} />
        </details>
      )}
    </>
  )
}

import { useState } from "preact/hooks"
import type { Preview } from "../../api/types"
import { count, plain } from "../../format"
import { Notice } from "../../parts/panel"
import { Table, type Column } from "../../parts/table"

export type Into = "events" | "items"
type Unit = "s" | "ms" | "us"

/** What becomes of a file's columns, as the API takes it. */
export interface Plan {
  columns: Record<string, string>
  keep: string[]
  unit: Unit
  skip: boolean
}

const KEEP = "keep"
const LEAVE = ""

const MEANING: Record<string, string> = {
  person: "person: who",
  item: "item: what",
  id: "id of the event",
  time: "time: when",
  kind: "kind: click, buy, …",
  value: "value: rating, seconds, …",
  weight: "weight: how much it counts",
  title: "title",
  text: "description",
  categories: "categories, separated by |",
}
const NEEDED: Record<Into, string[]> = { events: ["person", "item"], items: ["item"] }

interface MappingProps {
  into: Into
  preview: Preview
  busy: boolean
  onSend: (plan: Plan) => void
}

/** Which column is what, beside the first values of each, and the first rows as they are. */
export function Mapping({ into, preview, busy, onSend }: MappingProps) {
  const [uses, setUses] = useState<Record<string, string>>(() => first(into, preview))
  const [skip, setSkip] = useState(false)
  const [unit, setUnit] = useState<Unit>(() => unitOf(preview))
  const time = preview.columns.find((name) => uses[name] === "time")
  const numeric = time !== undefined && samples(preview, time).some((one) => /^-?\d+(\.\d+)?$/.test(one))
  const missing = NEEDED[into].filter((field) => !Object.values(uses).includes(field))

  /** A field is read from one column: whoever had it before is left out. */
  function use(column: string, as: string) {
    const others = Object.entries(uses).map(([name, was]) => [name, as !== KEEP && was === as ? LEAVE : was])
    setUses({ ...Object.fromEntries(others), [column]: as })
  }
  const plan: Plan = {
    columns: Object.fromEntries(
      Object.entries(uses).flatMap(([column, as]) => (as && as !== KEEP ? [[as, column]] : [])),
    ),
    keep: preview.columns.filter((column) => uses[column] === KEEP),
    unit,
    skip,
  }
  const rows: Column<(typeof preview.rows)[number]>[] = [
    { name: "Row", value: (one) => one.row },
    ...preview.columns.map((name, at) => ({
      name,
      value: (one: (typeof preview.rows)[number]) => text(one.cells[at]),
    })),
  ]
  return (
    <form
      class="mapping"
      onSubmit={(event) => {
        event.preventDefault()
        onSend(plan)
      }}
    >
      <ul class="columns" aria-label="Columns of the file">
        {preview.columns.map((name, at) => (
          <li key={name}>
            <div>
              <label for={`column-${at}`}>
                <b>{name}</b>
              </label>
              <span id={`samples-${at}`} class="muted small samples">
                {samples(preview, name).slice(0, 3).join(" · ") || "empty in the first rows"}
              </span>
            </div>
            <select
              id={`column-${at}`}
              aria-describedby={`samples-${at}`}
              value={uses[name]}
              onChange={(event) => use(name, event.currentTarget.value)}
            >
              <option value={LEAVE}>leave out</option>
              {preview.fields.map((field) => (
                <option key={field} value={field}>
                  {MEANING[field] ?? field}
                </option>
              ))}
              <option value={KEEP}>{into === "events" ? "keep as context" : "keep as attribute"}</option>
            </select>
          </li>
        ))}
      </ul>
      <div class="controls">
        {numeric && (
          <label>
            <span class="label">Times are numbers of</span>
            <select value={unit} onChange={(event) => setUnit(event.currentTarget.value as Unit)}>
              <option value="s">seconds since 1970</option>
              <option value="ms">milliseconds since 1970</option>
              <option value="us">microseconds since 1970</option>
            </select>
          </label>
        )}
        <label class="check">
          <input type="checkbox" checked={skip} onChange={(event) => setSkip(event.currentTarget.checked)} />
          Leave out rows that cannot be taken, instead of storing none
        </label>
      </div>
      {missing.length > 0 && <Notice tone="warn">Say which column is the {missing.join(" and which is the ")}.</Notice>}
      <button type="submit" class="primary" disabled={busy || missing.length > 0}>
        {busy ? "Importing…" : "Check and import"}
      </button>
      {preview.rows.length > 0 && (
        <details class="first-rows">
          <summary>
            The first {count(preview.rows.length, "row")}
            {preview.count != null && ` of ${count(preview.count)}`}
          </summary>
          <Table caption="The first rows" rows={preview.rows} columns={rows} id={(one) => String(one.row)} />
        </details>
      )}
    </form>
  )
}

const text = (cell: unknown) => (cell === null || cell === undefined ? "" : plain(cell))

const samples = (preview: Preview, name: string) => {
  const at = preview.columns.indexOf(name)
  return [...new Set(preview.rows.map((row) => text(row.cells[at])).filter(Boolean))]
}

/** As the server guesses; what is not known of an item is kept, of what people did it is left out. */
function first(into: Into, preview: Preview): Record<string, string> {
  const fields = Object.fromEntries(Object.entries(preview.guess).map(([field, column]) => [column, field]))
  return Object.fromEntries(preview.columns.map((name) => [name, fields[name] ?? (into === "items" ? KEEP : LEAVE)]))
}

/** By their size: seconds of today have ten digits. */
function unitOf(preview: Preview): Unit {
  const column = preview.guess.time
  const value = column === undefined ? NaN : Number(samples(preview, column)[0])
  return value > 1e14 ? "us" : value > 1e11 ? "ms" : "s"
}

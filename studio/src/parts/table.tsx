import type { ComponentChildren } from "preact"
import { useRef } from "preact/hooks"

export interface Column<T> {
  name: string
  cell: (row: T) => ComponentChildren
  number?: boolean
  /** Hidden where there is no room; what it says is also said elsewhere. */
  wide?: boolean
}

interface TableProps<T> {
  caption: string
  columns: Column<T>[]
  rows: T[]
  id: (row: T) => string
}

/** A table; the arrow keys, Home and End move between the first links or buttons of its rows. The first column names the row. */
export function Table<T>({ caption, columns, rows, id }: TableProps<T>) {
  const body = useRef<HTMLTableSectionElement>(null)

  function move(event: KeyboardEvent) {
    const steps: Record<string, number> = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity }
    const step = steps[event.key]
    const from = (event.target as HTMLElement).closest("tr")
    if (
      step === undefined ||
      !from ||
      !body.current ||
      (event.target as HTMLElement).matches("input, select, textarea")
    )
      return
    const all = [...body.current.rows]
    const to = all[Math.max(0, Math.min(all.length - 1, all.indexOf(from) + step))]
    const target = to?.querySelector<HTMLElement>("a, button, summary")
    if (!target) return
    event.preventDefault()
    target.focus()
  }

  return (
    <div class="scroll" role="region" aria-label={caption} tabIndex={0}>
      <table>
        <caption class="sr-only">{caption}</caption>
        <thead>
          <tr>
            {columns.map((column) => (
              <th key={column.name} scope="col" class={look(column)}>
                {column.name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody ref={body} onKeyDown={move}>
          {rows.map((row) => (
            <tr key={id(row)}>
              {columns.map((column, at) =>
                at === 0 ? (
                  <th key={column.name} scope="row" class={look(column)}>
                    {column.cell(row)}
                  </th>
                ) : (
                  <td key={column.name} class={look(column)}>
                    {column.cell(row)}
                  </td>
                ),
              )}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}

const look = <T,>(column: Column<T>) =>
  [column.number && "number", column.wide && "wide"].filter(Boolean).join(" ") || undefined

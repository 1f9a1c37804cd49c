import type { ComponentChildren } from "preact"
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks"
import type { Pages } from "../api/use-pages"
import { count } from "../format"
import { CsvButton, type Cell } from "./csv"
import { Failure } from "./panel"

export interface Column<T> {
  name: string
  /** What it holds, for the CSV file, and to be shown where there is no `cell`; without it the column is left out of the file. */
  value?: (row: T) => Cell
  cell?: (row: T) => ComponentChildren
  number?: boolean
  /** In the CSV file alone. */
  apart?: boolean
  /** Hidden where there is no room; what it says is also said elsewhere. */
  wide?: boolean
  /** Share of the width in a long table; 1 when absent. */
  room?: "narrow" | "broad"
}

interface TableProps<T> {
  caption: string
  columns: Column<T>[]
  rows: T[]
  id: (row: T) => string
  /** Name of the CSV file; the caption when absent. */
  file?: string
  /** For lists of thousands: rows of one height in a box of their own, of which only those in sight are in the page. */
  long?: boolean
  /** Where the rows come from, when they come in pages: the next ones are loaded as the end comes into sight. */
  pages?: Pages<T>
  /** How many rows there are in all, where that is known. */
  total?: number
}

const WHOLE = 100 // rows that are all in the page, so that the browser's own search finds them
const AROUND = 10 // rows that are kept in the page above and below those in sight
const AHEAD = 40 // rows before the end of what is loaded at which the next page is fetched
const GUESS = 44 // pixels of a row, until one was measured

/** A table; the arrow keys, Page up and down, Home and End move between the first links or buttons of its rows. The first column names the row. */
export function Table<T>(props: TableProps<T>) {
  const { caption, rows, id, file = slug(caption), long, pages, total } = props
  const columns = props.columns.filter((column) => !column.apart)
  const box = useRef<HTMLDivElement>(null)
  const body = useRef<HTMLTableSectionElement>(null)
  const inside = useRef(false)
  const wanted = useRef<number | undefined>(undefined)
  const [sight, setSight] = useState({ from: 0, to: 30, height: GUESS })
  const windowed = long && rows.length > WHOLE
  const from = windowed ? Math.min(Math.max(0, sight.from - AROUND), Math.max(0, rows.length - 1)) : 0
  const to = windowed ? Math.min(rows.length, sight.to + AROUND) : rows.length
  const more = pages?.more ?? false

  /** What is in sight now. */
  function look() {
    const at = box.current
    if (!at || !long) return
    const height = body.current?.rows[0]?.offsetHeight || sight.height
    const first = Math.floor(at.scrollTop / height)
    const last = Math.ceil((at.scrollTop + at.clientHeight) / height)
    if (first !== sight.from || last !== sight.to || height !== sight.height)
      setSight({ from: first, to: last, height })
  }
  useEffect(() => {
    if (!long) return
    const watch = new ResizeObserver(look)
    watch.observe(box.current!)
    return () => watch.disconnect()
  })
  useLayoutEffect(look)
  useEffect(() => {
    if (long && more && !pages!.error && to + AHEAD > rows.length) pages!.load()
  }, [to, rows.length, more])
  useLayoutEffect(() => {
    if (wanted.current === undefined) return
    const target = handle(body.current?.rows[wanted.current - from])
    if (!target) return
    wanted.current = undefined
    target.focus({ preventScroll: Boolean(long) })
  })
  useLayoutEffect(() => {
    // The row that had the focus went out of the page: the focus stays with the table.
    if (!long || !inside.current || document.activeElement !== document.body) return
    inside.current = false
    box.current?.focus({ preventScroll: true })
  })

  function move(event: KeyboardEvent) {
    const target = event.target as HTMLElement
    const row = target.closest("tr")
    if (!row || !body.current || target.matches("input, select, textarea")) return
    const page = Math.max(1, sight.to - sight.from - 3)
    const steps: Record<string, number> = {
      ArrowDown: 1,
      ArrowUp: -1,
      PageDown: page,
      PageUp: -page,
      Home: -Infinity,
      End: Infinity,
    }
    const step = steps[event.key]
    if (step === undefined || (!long && event.key.startsWith("Page"))) return
    const here = from + [...body.current.rows].indexOf(row)
    const there = Math.max(0, Math.min(rows.length - 1, here + step))
    const shown = body.current.rows[there - from]
    if (shown && !handle(shown)) return
    event.preventDefault()
    if (long) scrollTo(there)
    wanted.current = there
    setSight((was) => ({ ...was })) // the row is focused once it is in the page
  }

  function scrollTo(row: number) {
    const at = box.current!
    const head = at.querySelector("thead")!.offsetHeight
    const top = row * sight.height
    if (top < at.scrollTop) at.scrollTop = top
    else if (top + sight.height + head > at.scrollTop + at.clientHeight)
      at.scrollTop = top + sight.height + head - at.clientHeight
    look()
  }

  const known = more ? total : rows.length
  return (
    <>
      <div
        ref={box}
        class={long ? "scroll long" : "scroll"}
        role="region"
        aria-label={`${caption}: rows`}
        tabIndex={0}
        onScroll={long ? look : undefined}
      >
        <table aria-rowcount={long ? (known === undefined ? -1 : known + 1) : undefined}>
          <caption class="sr-only">{caption}</caption>
          <thead>
            <tr aria-rowindex={long ? 1 : undefined}>
              {columns.map((column) => (
                <th key={column.name} scope="col" class={classes(column)}>
                  {column.name}
                </th>
              ))}
            </tr>
          </thead>
          {from > 0 && <Gap rows={from} height={sight.height} />}
          <tbody
            ref={body}
            onKeyDown={move}
            onFocusIn={() => (inside.current = true)}
            onFocusOut={(event) => {
              const left = event.target as HTMLElement
              // Whoever leaves by themselves leaves a row that is still there.
              queueMicrotask(() => left.isConnected && (inside.current = false))
            }}
          >
            {rows.slice(from, to).map((row, at) => (
              <tr key={id(row)} aria-rowindex={long ? from + at + 2 : undefined}>
                {columns.map((column, place) => {
                  const inside = column.cell ? column.cell(row) : column.value?.(row)
                  return place === 0 ? (
                    <th key={column.name} scope="row" class={classes(column)}>
                      {inside}
                    </th>
                  ) : (
                    <td key={column.name} class={classes(column)}>
                      {inside}
                    </td>
                  )
                })}
              </tr>
            ))}
          </tbody>
          {to < rows.length && <Gap rows={rows.length - to} height={sight.height} />}
        </table>
      </div>
      {pages?.error && <Failure problem={pages.error} retry={pages.load} />}
      <div class="table-foot small muted">
        <span>
          {more
            ? `${count(rows.length)} ${known === undefined ? "loaded, there are more" : `of ${count(known)} loaded`}`
            : count(rows.length, "row")}
          {pages?.loading && " · loading…"}
        </span>
        <CsvButton file={file} columns={props.columns} rows={rows} all={more ? pages!.all : undefined} />
      </div>
    </>
  )
}

/** The room of rows that are not in the page. */
function Gap({ rows, height }: { rows: number; height: number }) {
  return (
    <tbody aria-hidden="true" class="gap">
      <tr style={{ height: `${rows * height}px` }}>
        <td />
      </tr>
    </tbody>
  )
}

const handle = (row: HTMLElement | undefined | null) =>
  row?.querySelector<HTMLElement>("a, button:not(:disabled), summary, input:not(:disabled)")

const slug = (text: string) => text.toLowerCase().replace(/[^a-z0-9]+/g, "-")

const classes = <T,>(column: Column<T>) =>
  [column.number && "number", column.wide && "wide", column.room].filter(Boolean).join(" ") || undefined

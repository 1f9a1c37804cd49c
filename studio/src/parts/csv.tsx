import { useRef, useState } from "preact/hooks"
import { Problem, save } from "../api/client"
import { count } from "../format"
import { announce } from "./announce"
import { Icon } from "./icons"

export type Cell = string | number | boolean | null | undefined

/** What spreadsheets take for the beginning of a formula, full-width forms too; a plain negative number is none. */
const FORMULA = /^[=+\-@\t\r\n＝＋－＠]/
const NUMBER = /^-?\d+(\.\d+)?$/

function field(cell: Cell): string {
  if (cell === null || cell === undefined) return ""
  if (typeof cell !== "string") return String(cell)
  const text = FORMULA.test(cell) && !NUMBER.test(cell) ? `'${cell}` : cell
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}

/** A table as RFC 4180 has it, in UTF-8 with the mark that spreadsheets look for; a text that would run as a formula gets an apostrophe in front. */
export const toCsv = (names: string[], rows: Cell[][]) =>
  "\ufeff" + [names, ...rows].map((row) => row.map(field).join(",") + "\r\n").join("")

export interface CsvColumn<T> {
  name: string
  value?: (row: T) => Cell
}

interface CsvProps<T> {
  file: string
  columns: CsvColumn<T>[]
  rows: T[]
  /** Collects what is not loaded yet; told how to say how far it is, and asked now and then whether to go on. */
  all?: (far: (rows: number) => boolean) => Promise<T[]>
}

/** Takes a table away as a CSV file. Where only a part is loaded, the rest is fetched first; pressed again, it stops. */
export function CsvButton<T>({ file, columns, rows, all }: CsvProps<T>) {
  const [said, say] = useState<string>()
  const going = useRef(false)
  async function take() {
    if (going.current) {
      going.current = false
      return
    }
    going.current = true
    try {
      const whole = all ? await all((n) => (say(`${count(n, "row")}… stop`), going.current)) : rows
      const kept = columns.filter((column) => column.value)
      const text = toCsv(
        kept.map((column) => column.name),
        whole.map((row) => kept.map((column) => column.value!(row))),
      )
      save(new Blob([text], { type: "text/csv;charset=utf-8" }), `${file}.csv`)
      const done = going.current
        ? `Downloaded, ${count(whole.length, "row")}`
        : `Stopped, ${count(whole.length, "row")}`
      say(done)
      announce(done)
    } catch (failure) {
      say(failure instanceof Problem ? failure.message : "It did not work")
    }
    going.current = false
    setTimeout(() => going.current || say(undefined), 4000)
  }
  return (
    <button
      type="button"
      class="small quiet csv"
      aria-label={said ? undefined : `Download ${file} as CSV`}
      onClick={take}
    >
      <Icon name="download" />
      {said ?? "CSV"}
    </button>
  )
}

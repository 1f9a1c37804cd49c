import type { Pages } from "../api/use-pages"
import { CsvButton, type CsvColumn } from "./csv"
import { Failure } from "./panel"

interface ListFootProps<T> {
  of: Pages<T>
  /** Name of the file that all of it can be saved as. */
  file: string
  columns: CsvColumn<T>[]
}

/** The foot of a long list that is read page by page: what went wrong, older ones, and all of it as a file. */
export function ListFoot<T>({ of: { rows, more, loading, error, load, all }, file, columns }: ListFootProps<T>) {
  return (
    <>
      {error && <Failure problem={error} retry={load} />}
      {more && (
        <button type="button" class="more" disabled={loading} onClick={load}>
          {loading ? "Loading…" : "Older ones"}
        </button>
      )}
      {rows.length > 0 && (
        <div class="table-foot">
          <CsvButton file={file} columns={columns} rows={rows} all={more ? all : undefined} />
        </div>
      )}
    </>
  )
}

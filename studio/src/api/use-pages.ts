import { useCallback, useEffect, useRef, useState } from "preact/hooks"
import { call, Problem, withQuery, type Query } from "./client"
import type { Page } from "./types"
import { useApi, type Resource } from "./use-api"

/** As much as the server gives at once, for taking everything away. */
const MOST = 1000

export interface Pages<T> {
  url: string
  first: Resource<Page<T>>
  rows: T[]
  /** Whether there is more than was loaded. */
  more: boolean
  load: () => void
  loading: boolean
  error: Problem | undefined
  /** Everything there is, page by page; stops when `far` says so. */
  all: (far: (rows: number) => boolean) => Promise<T[]>
}

/** A list of pages, of which the next one is loaded when it is asked for. `cursor` is the query's name for where the next one begins. */
export function usePages<T>(base: string, query: Query, size: number, cursor = "after"): Pages<T> {
  const url = withQuery(base, { ...query, limit: size })
  const first = useApi<Page<T>>(url)
  const [later, setLater] = useState<{ of: Page<T>; pages: Page<T>[] }>()
  const [error, setError] = useState<Problem>()
  const [loading, setLoading] = useState(false)
  const busy = useRef<AbortController | undefined>(undefined)
  // Pages that follow another first page are not ours.
  const pages = first.data ? [first.data, ...(later?.of === first.data ? later.pages : [])] : []
  const next = pages.at(-1)?.next
  useEffect(() => {
    setError(undefined)
    return () => busy.current?.abort()
  }, [first.data])

  const load = useCallback(() => {
    const of = first.data
    if (!next || !of || (busy.current && !busy.current.signal.aborted)) return
    const stop = (busy.current = new AbortController())
    setLoading(true)
    setError(undefined)
    call<Page<T>>("GET", withQuery(base, { ...query, limit: size, [cursor]: next }), undefined, stop.signal)
      .then(
        (page) => setLater((was) => ({ of, pages: [...(was?.of === of ? was.pages : []), page] })),
        (failure: unknown) => {
          if (!stop.signal.aborted)
            setError(failure instanceof Problem ? failure : new Problem(-1, "Unexpected", String(failure)))
        },
      )
      .finally(() => {
        if (busy.current === stop) busy.current = undefined
        setLoading(false)
      })
  }, [url, next, first.data])

  async function all(far: (rows: number) => boolean): Promise<T[]> {
    const rows: T[] = []
    let at: string | null | undefined
    do {
      const page: Page<T> = await call("GET", withQuery(base, { ...query, limit: MOST, [cursor]: at }))
      rows.push(...page.items)
      at = page.next
    } while (at && far(rows.length))
    return rows
  }
  return { url, first, rows: pages.flatMap((page) => page.items), more: Boolean(next), load, loading, error, all }
}

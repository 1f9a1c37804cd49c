import { useCallback, useEffect, useState } from "preact/hooks"
import { call, Problem } from "./client"

export interface Resource<T> {
  data: T | undefined
  error: Problem | undefined
  loading: boolean
  reload: () => void
}

const RETRY_OFFLINE_MS = 3000

/**
 * What is at an address, read again when it changes. While it is read again, also with another query, the last answer stays;
 * what belongs to another path never shows. `every` reads it again after that many milliseconds as long as the page is visible.
 */
export function useApi<T>(url: string | null, every = 0): Resource<T> {
  const [state, setState] = useState<{ url: string | null; data?: T; error?: Problem }>({ url: null })
  const [round, setRound] = useState(0)
  const [busy, setBusy] = useState(false)
  const reload = useCallback(() => setRound((n) => n + 1), [])

  useEffect(() => {
    if (url === null) return
    const stop = new AbortController()
    let again: number | undefined
    const later = (ms: number) => {
      again = window.setTimeout(() => (document.hidden ? later(ms) : reload()), ms)
    }
    setBusy(true)
    call<T>("GET", url, undefined, stop.signal).then(
      (data) => {
        setState({ url, data })
        setBusy(false)
        if (every) later(every)
      },
      (failure: unknown) => {
        if (stop.signal.aborted) return
        const error = failure instanceof Problem ? failure : new Problem(-1, "Unreadable answer", String(failure))
        setState((was) => ({ url, error, data: pathOf(was.url) === pathOf(url) ? was.data : undefined }))
        setBusy(false)
        if (error.offline) later(RETRY_OFFLINE_MS)
      },
    )
    return () => {
      stop.abort()
      window.clearTimeout(again)
    }
  }, [url, round, every, reload])

  const exact = state.url === url
  const data = exact || pathOf(state.url) === pathOf(url) ? state.data : undefined
  return { data, error: exact ? state.error : undefined, loading: busy || !exact, reload }
}

const pathOf = (url: string | null) => url?.split("?", 1)[0]

/** An action with its own pending and failed state: `const [run, { pending, error }] = useAction(async () => ...)`. */
export function useAction<A extends unknown[]>(action: (...args: A) => Promise<unknown>) {
  const [state, setState] = useState<{ pending: boolean; error?: Problem }>({ pending: false })
  const run = async (...args: A): Promise<boolean> => {
    setState({ pending: true })
    try {
      await action(...args)
      setState({ pending: false })
      return true
    } catch (failure) {
      setState({
        pending: false,
        error: failure instanceof Problem ? failure : new Problem(-1, "Unexpected", String(failure)),
      })
      return false
    }
  }
  return [run, state] as const
}

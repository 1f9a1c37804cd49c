import { useCallback, useEffect, useState } from "preact/hooks"
import { call, Problem } from "./client"
import type { Resource } from "./use-api"

/** What a question that is too long for an address is answered; asked again when it changes. null asks nothing. While it waits, the last answer stays. */
export function usePost<T>(url: string, body: unknown): Resource<T> {
  const [state, setState] = useState<{ asked?: string; data?: T; error?: Problem }>({})
  const [round, setRound] = useState(0)
  const asked = body === null ? undefined : JSON.stringify(body)
  const reload = useCallback(() => setRound((n) => n + 1), [])
  useEffect(() => {
    if (asked === undefined) return
    const stop = new AbortController()
    call<T>("POST", url, JSON.parse(asked), stop.signal).then(
      (data) => setState({ asked, data }),
      (failure: unknown) => {
        if (stop.signal.aborted) return
        const error = failure instanceof Problem ? failure : new Problem(-1, "Unexpected", String(failure))
        setState({ asked, error })
      },
    )
    return () => stop.abort()
  }, [url, asked, round])
  return {
    data: asked === undefined ? undefined : state.data,
    error: state.asked === asked ? state.error : undefined,
    loading: asked !== undefined && state.asked !== asked,
    reload,
  }
}

import { useEffect, useState } from "preact/hooks"
import { call, path, withQuery } from "../../api/client"
import type { Event, Page } from "../../api/types"
import { useAction, useApi } from "../../api/use-api"
import { plain } from "../../format"

const PAGE = 50

/** Somebody's evidence, newest first, a page at a time. */
export function useEvents(person: string) {
  const url = withQuery(path`/v1/people/${person}/events`, { limit: PAGE })
  const first = useApi<Page<Event>>(url)
  const [older, setOlder] = useState<Page<Event>[]>([])
  useEffect(() => setOlder([]), [first.data])
  const pages = first.data ? [first.data, ...older] : []
  const next = pages.at(-1)?.next ?? null
  const [more, loading] = useAction(async () =>
    setOlder([
      ...older,
      await call<Page<Event>>("GET", withQuery(path`/v1/people/${person}/events`, { limit: PAGE, before: next })),
    ]),
  )
  return { url, first, events: pages.flatMap((page) => page.items), next, more, loading }
}

const FRAMES: Record<string, string> = {
  events: "event",
  people: "attributes",
  texts: "text",
  images: "picture",
  preferences: "preference",
}

/** What sort of event it is. */
export const kindOf = (event: Event) => event.kind ?? FRAMES[event.frame] ?? event.frame

/** What an event is about, in a few words. */
export function aboutOf(event: Event): string {
  if (event.title || event.item != null) return event.title || String(event.item)
  const { text, ...rest } = event.content
  if (typeof text === "string") return text
  return Object.entries(rest)
    .map(([name, value]) => `${name}: ${plain(value)}`)
    .join(" · ")
}

import { path } from "../../api/client"
import type { Event } from "../../api/types"
import { usePages } from "../../api/use-pages"
import { plain } from "../../format"

const PAGE = 50

/** Somebody's evidence, newest first, a page at a time. */
export const useEvents = (person: string) => usePages<Event>(path`/v1/people/${person}/events`, {}, PAGE, "before")

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

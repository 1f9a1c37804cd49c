import { call, withQuery } from "../api/client"
import type { Page, PersonCard } from "../api/types"
import { count } from "../format"
import { useScope } from "../session"
import { Combobox, type Option } from "./combobox"

export async function findPeople(text: string, signal: AbortSignal): Promise<(Option & { person: string })[]> {
  const url = withQuery("/v1/people", { query: text.trim(), limit: 8 })
  const found = await call<Page<PersonCard>>("GET", url, undefined, signal)
  return found.items.map((one) => ({
    id: `person ${one.person}`,
    person: one.person,
    label: one.name ? `${one.name} (${one.person})` : one.person,
    hint: count(one.records, "record"),
  }))
}

/** Choose a person; Enter takes an id as typed. */
export function PersonField({ label, onPick }: { label: string; onPick: (person: string) => void }) {
  const mayList = useScope("profile")
  return (
    <Combobox
      label={label}
      placeholder="An id"
      search={(text, signal) => (mayList ? findPeople(text, signal) : Promise.resolve([]))}
      onPick={(option) => onPick(option.person)}
      onEnter={onPick}
      none="Enter takes it as an id."
    />
  )
}

import { call, withQuery } from "../api/client"
import type { Item, Page } from "../api/types"
import { Combobox, type Option } from "./combobox"

interface ItemOption extends Option {
  item: string
  title: string | null
}

async function find(text: string, signal: AbortSignal): Promise<ItemOption[]> {
  const page = await call<Page<Item>>(
    "GET",
    withQuery("/v1/items", { query: text.trim(), limit: 12 }),
    undefined,
    signal,
  )
  return page.items
    .filter((one) => !one.hidden)
    .map((one) => ({
      id: String(one.item),
      item: String(one.item),
      title: one.title ?? null,
      label: one.title ?? String(one.item),
      hint: one.title ? String(one.item) : undefined,
    }))
}

/** Choose an item of the catalogue; Enter takes an id as typed. */
export function ItemField({ label, onPick }: { label: string; onPick: (item: string, title: string | null) => void }) {
  return (
    <Combobox
      label={label}
      placeholder="A title or an id"
      search={find}
      onPick={(option) => onPick(option.item, option.title)}
      onEnter={(text) => onPick(text, null)}
      none="Nothing in the catalogue. Enter takes it as an id."
    />
  )
}

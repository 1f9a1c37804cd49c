import { useLocation } from "preact-iso"
import { useEffect, useState } from "preact/hooks"
import { withQuery } from "../../api/client"

/** How long the list is, which items may be in it and how different they must be; all of it stands in the address. */
export function Controls({ base }: { base: string }) {
  const { query, route } = useLocation()
  const [where, setWhere] = useState(query.where ?? "")
  useEffect(() => setWhere(query.where ?? ""), [query.where])
  const go = (change: Record<string, string>) =>
    route(withQuery(base, { k: query.k, where: query.where, diversity: query.diversity, ...change }), true)
  return (
    <form
      class="controls"
      onSubmit={(event) => {
        event.preventDefault()
        go({ where })
      }}
    >
      <label>
        <span class="label">Items</span>
        <select value={query.k ?? "10"} onChange={(event) => go({ k: event.currentTarget.value })}>
          {[5, 10, 20, 50].map((n) => (
            <option key={n} value={String(n)}>
              {n}
            </option>
          ))}
        </select>
      </label>
      <label>
        <span class="label">Diversity</span>
        <select
          value={query.diversity ?? "0"}
          onChange={(event) => go({ diversity: event.currentTarget.value === "0" ? "" : event.currentTarget.value })}
        >
          <option value="0">none</option>
          <option value="0.3">some</option>
          <option value="0.6">much</option>
        </select>
      </label>
      <label class="grow">
        <span class="label">Only items where</span>
        <input
          type="text"
          value={where}
          placeholder="price < 20"
          spellcheck={false}
          autocomplete="off"
          onInput={(event) => setWhere(event.currentTarget.value)}
        />
      </label>
      <button type="submit" disabled={where === (query.where ?? "")}>
        Filter
      </button>
    </form>
  )
}

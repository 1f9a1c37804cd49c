import { useState } from "preact/hooks"
import { call } from "../../api/client"
import { useAction } from "../../api/use-api"
import { ItemField } from "../../parts/item-field"
import { Failure, Panel } from "../../parts/panel"

const KINDS = ["click", "purchase", "rating", "skip"]

/** Record one event by hand. */
export function NewEvent({ person, onSent }: { person: string; onSent: () => Promise<void> }) {
  const [kind, setKind] = useState(KINDS[0]!)
  const [value, setValue] = useState("")
  const [chosen, setChosen] = useState<{ item: string; title: string | null }>()
  const [send, sending] = useAction(async () => {
    const rated = kind === "rating" && value !== "" ? { value: Number(value) } : {}
    await call("POST", "/v1/events", { events: [{ person, item: chosen!.item, kind, ...rated }] })
    setChosen(undefined)
    await onSent()
  })
  return (
    <Panel title="Record an event" class="new-event">
      <form
        class="controls"
        onSubmit={(event) => {
          event.preventDefault()
          if (chosen) send()
        }}
      >
        <label>
          <span class="label">Kind</span>
          <select value={kind} onChange={(event) => setKind(event.currentTarget.value)}>
            {KINDS.map((one) => (
              <option key={one}>{one}</option>
            ))}
          </select>
        </label>
        {kind === "rating" && (
          <label>
            <span class="label">Value</span>
            <input
              type="number"
              step="any"
              class="narrow"
              value={value}
              onInput={(event) => setValue(event.currentTarget.value)}
            />
          </label>
        )}
        <div class="grow">
          {chosen ? (
            <div class="chosen">
              <span class="label">Item</span>
              <span class="chip">
                {chosen.title ?? chosen.item}
                <button type="button" class="quiet" onClick={() => setChosen(undefined)}>
                  Change
                </button>
              </span>
            </div>
          ) : (
            <ItemField label="Item" onPick={(item, title) => setChosen({ item, title })} />
          )}
        </div>
        <button type="submit" class="primary" disabled={!chosen || sending.pending}>
          {sending.pending ? "Recording…" : "Record"}
        </button>
      </form>
      {sending.error && <Failure problem={sending.error} />}
    </Panel>
  )
}

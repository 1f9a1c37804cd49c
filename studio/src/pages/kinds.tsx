import { useEffect, useState } from "preact/hooks"
import { call } from "../api/client"
import type { Data } from "../api/types"
import { useApi } from "../api/use-api"
import { announce } from "../parts/announce"
import { CopyAs } from "../parts/copy"
import { Badge } from "../parts/icons"
import { Load, Notice, Panel } from "../parts/panel"
import { Sure } from "./settings"

interface Told {
  weights: Record<string, number>
  /** Nothing was said: these are the built-in ones. */
  default: boolean
}

/** How much events of each kind count; 0 teaches nothing and keeps the item away. */
export function Kinds({ data, changed }: { data: Data | undefined; changed: () => void }) {
  const kinds = useApi<Told>("/v1/kinds")
  const [draft, setDraft] = useState<Record<string, string>>({})
  const [fresh, setFresh] = useState("")
  const [sure, setSure] = useState<"set" | "default">()
  useEffect(() => setDraft(texts(kinds.data)), [kinds.data])
  const here = data?.kinds.flatMap((one) => (one.frame === "events" && one.kind ? one.kind : [])) ?? []
  const names = [...new Set([...Object.keys(draft), ...here])].sort()
  const wanted = Object.fromEntries(
    Object.entries(draft).flatMap(([name, text]) => (text.trim() === "" ? [] : [[name, Number(text)]])),
  )
  const same = JSON.stringify(sorted(wanted)) === JSON.stringify(sorted(kinds.data?.weights ?? {}))
  const valid = Object.values(wanted).every((weight) => Number.isFinite(weight) && weight >= 0)
  return (
    <Panel
      title="What kinds of events count"
      hint="A weight for each; kinds without one count 1. With 0 nothing is learned, and the item is not shown to that person again."
      actions={kinds.data && <Badge>{kinds.data.default ? "as built in" : "set here"}</Badge>}
    >
      <Load from={kinds} lines={4}>
        {() => (
          <form
            onSubmit={(event) => {
              event.preventDefault()
              setSure("set")
            }}
          >
            <div class="weights">
              {names.map((name) => (
                <label key={name}>
                  <span class="label">{name}</span>
                  <input
                    type="number"
                    min="0"
                    step="any"
                    placeholder="1"
                    value={draft[name] ?? ""}
                    onInput={(event) => setDraft({ ...draft, [name]: event.currentTarget.value })}
                  />
                </label>
              ))}
              <label>
                <span class="label">Another kind</span>
                <input
                  type="text"
                  maxLength={64}
                  pattern="[A-Za-z0-9_.:\-]+"
                  placeholder="its name"
                  autocomplete="off"
                  value={fresh}
                  onInput={(event) => setFresh(event.currentTarget.value)}
                  onChange={() => {
                    if (/^[A-Za-z0-9_.:-]+$/.test(fresh)) {
                      setDraft({ ...draft, [fresh]: draft[fresh] ?? "1" })
                      setFresh("")
                    }
                  }}
                />
              </label>
            </div>
            <div class="actions">
              <button type="submit" disabled={same || !valid}>
                Set the weights…
              </button>
              {!same && (
                <button type="button" class="quiet" onClick={() => setDraft(texts(kinds.data))}>
                  Take back
                </button>
              )}
              {!kinds.data?.default && (
                <button type="button" class="quiet" onClick={() => setSure("default")}>
                  As built in…
                </button>
              )}
            </div>
          </form>
        )}
      </Load>
      <CopyAs method="PUT" url="/v1/kinds" body={{ weights: { purchase: 3, view: 1, dislike: 0 } }} />
      {sure && (
        <Sure
          title={sure === "set" ? "Set these weights?" : "Back to the built-in weights?"}
          yes={sure === "set" ? "Set them" : "Go back"}
          onClose={() => setSure(undefined)}
          onYes={async () => {
            await call("PUT", "/v1/kinds", { weights: sure === "set" ? wanted : null })
            announce("The weights have changed")
            kinds.reload()
            changed()
          }}
        >
          {sure === "set" && (
            <ul class="chips">
              {Object.entries(wanted).map(([name, weight]) => (
                <li key={name} class="chip plain">
                  {name} {weight}
                </li>
              ))}
            </ul>
          )}
          <Notice>Everybody's state is made again with them; the model itself follows with the next fit.</Notice>
        </Sure>
      )}
    </Panel>
  )
}

const texts = (told: Told | undefined) =>
  Object.fromEntries(Object.entries(told?.weights ?? {}).map(([name, weight]) => [name, String(weight)]))

const sorted = (weights: Record<string, number>) => Object.entries(weights).sort(([a], [b]) => (a < b ? -1 : 1))

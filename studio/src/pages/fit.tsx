import { useState } from "preact/hooks"
import { call, Problem } from "../api/client"
import type { Job, Page, System } from "../api/types"
import { useAction, useApi } from "../api/use-api"
import { CopyAs } from "../parts/copy"
import { Failure, Panel } from "../parts/panel"

/** Methods that find things for a query. */
const SEARCHERS = ["personal-search"]

/** Start a fit: on everybody who consents to training, measured on people kept out of it. */
export function Fit({ onStart }: { onStart: (job: Job) => void }) {
  const systems = useApi<Page<System>>("/v1/systems")
  const methods =
    systems.data?.items.filter(
      (one) => one.room === "recommend" && ["baseline", "method"].includes(one.kind) && one.implemented,
    ) ?? []
  const [verb, setVerb] = useState<"recommend" | "search">("recommend")
  const [wanted, setMethod] = useState("ease")
  const names = verb === "search" ? SEARCHERS : methods.length ? methods.map((one) => one.slug) : ["ease"]
  const method = names.includes(wanted) ? wanted : names[0]!
  const [settings, setSettings] = useState("")
  const [holdout, setHoldout] = useState("0.1")
  const [gain, setGain] = useState("0")
  const body = () => ({
    method,
    ...(verb === "search" && { verb }),
    settings: parse(settings),
    holdout: Number(holdout),
    min_gain: Number(gain),
  })
  const [start, starting] = useAction(async () => onStart(await call<Job>("POST", "/v1/models", body())))
  return (
    <Panel
      title="Fit a new model"
      hint="It learns from people who consent to training, and is tried on people it has not seen before anybody is served by it."
    >
      <form
        class="controls"
        onSubmit={(event) => {
          event.preventDefault()
          start()
        }}
      >
        <label>
          <span class="label">For</span>
          <select value={verb} onChange={(event) => setVerb(event.currentTarget.value as typeof verb)}>
            <option value="recommend">lists</option>
            <option value="search">searching</option>
          </select>
        </label>
        <label>
          <span class="label">Method</span>
          <select value={method} onChange={(event) => setMethod(event.currentTarget.value)}>
            {names.map((slug) => (
              <option key={slug}>{slug}</option>
            ))}
          </select>
        </label>
        <label>
          <span class="label">Kept out, share of people</span>
          <input
            type="number"
            min="0.01"
            max="0.5"
            step="0.01"
            class="narrow"
            required
            value={holdout}
            onInput={(event) => setHoldout(event.currentTarget.value)}
          />
        </label>
        <label>
          <span class="label">Smallest gain</span>
          <input
            type="number"
            step="any"
            class="narrow"
            required
            value={gain}
            onInput={(event) => setGain(event.currentTarget.value)}
          />
        </label>
        <label class="grow">
          <span class="label">Settings, as JSON</span>
          <input
            type="text"
            value={settings}
            placeholder='{"regularization": 100}'
            spellcheck={false}
            autocomplete="off"
            onInput={(event) => setSettings(event.currentTarget.value)}
          />
        </label>
        <button type="submit" class="primary" disabled={starting.pending}>
          {starting.pending ? "Starting…" : "Fit"}
        </button>
      </form>
      {starting.error && <Failure problem={starting.error} />}
      <CopyAs
        method="POST"
        url="/v1/models"
        body={safe(body)}
        python={`job = client.fit(${JSON.stringify(method)}${verb === "search" ? ', verb="search"' : ""})`}
      />
    </Panel>
  )
}

function parse(text: string): Record<string, unknown> {
  if (!text.trim()) return {}
  try {
    return JSON.parse(text) as Record<string, unknown>
  } catch {
    throw new Problem(-1, "Settings are not JSON", `“${text}” cannot be read.`, 'Write them as {"name": value}.')
  }
}

const safe = (make: () => unknown) => {
  try {
    return make()
  } catch {
    return {}
  }
}

import { useLocation } from "preact-iso"
import { useState } from "preact/hooks"
import { call, path, Problem } from "../api/client"
import type { Job, ModelCard, Page } from "../api/types"
import { useAction, useApi } from "../api/use-api"
import { count, short } from "../format"
import { CopyAs } from "../parts/copy"
import { CsvButton, type CsvColumn } from "../parts/csv"
import { Dialog } from "../parts/dialog"
import { Badge } from "../parts/icons"
import { Empty, Failure, Load, Notice, Panel } from "../parts/panel"
import { Time } from "../parts/time"
import { useScope } from "../session"
import { useTitle } from "../title"
import { Fit } from "./fit"
import { ModelReport, reportLine } from "./model-report"

const TONES = { active: "good", refused: "bad", candidate: "plain", preparing: "warn", retired: "plain" } as const

export function Models() {
  useTitle("Models")
  const { route } = useLocation()
  const models = useApi<Page<ModelCard>>("/v1/models")
  const mayFit = useScope("models")
  const [switching, setSwitching] = useState<ModelCard>()
  return (
    <>
      <h1>Models</h1>
      <Panel
        title="Fitted models"
        actions={
          <>
            {mayFit && <a href="/jobs">Jobs</a>}
            {models.data && <CsvButton file="models" columns={COLUMNS} rows={models.data.items} />}
          </>
        }
        hint="What everybody shares. A new one serves only when it helps people at least as much as the one before."
      >
        <Load
          from={models}
          empty={(page) =>
            !page.items.length && (
              <Empty title="No model yet.">
                {mayFit ? "Fit the first one below." : "Until there is one, there are no lists."}
              </Empty>
            )
          }
        >
          {(page) => (
            <ul class="cards">
              {order(page.items).map((card) => (
                <li key={`${card.verb} ${card.fingerprint}`} class={`card ${card.status}`}>
                  <div class="card-head">
                    <h3>
                      {card.method} <span class="muted small pick-id">{short(card.fingerprint)}</span>
                    </h3>
                    <Badge tone={TONES[card.status]}>{card.status}</Badge>
                    {mayFit && card.status !== "active" && card.status !== "preparing" && (
                      <button
                        type="button"
                        class="small"
                        aria-label={`Switch to it: ${card.method} ${short(card.fingerprint)}`}
                        onClick={() => setSwitching(card)}
                      >
                        Switch to it
                      </button>
                    )}
                  </div>
                  <p class="small muted provenance">
                    <span>{card.verb}</span>
                    <span>
                      made <Time at={card.made} relative />
                    </span>
                    <span>from {count(card.people, "person", "people")}</span>
                    {card.switched && (
                      <span>
                        switched on <Time at={card.switched} relative />
                      </span>
                    )}
                  </p>
                  <ModelReport report={card.report} refused={card.status === "refused"} />
                </li>
              ))}
            </ul>
          )}
        </Load>
        <CopyAs
          url="/v1/models"
          python={"for model in client.models().items:\n    print(model.method, model.status)"}
        />
      </Panel>
      {mayFit && <Fit onStart={(started) => route(path`/jobs/${started.id}`)} />}
      {switching && (
        <Switch
          card={switching}
          onClose={() => setSwitching(undefined)}
          onStart={(started) => {
            setSwitching(undefined)
            route(path`/jobs/${started.id}`)
          }}
        />
      )}
    </>
  )
}

const COLUMNS: CsvColumn<ModelCard>[] = [
  { name: "fingerprint", value: (one) => one.fingerprint },
  { name: "method", value: (one) => one.method },
  { name: "verb", value: (one) => one.verb },
  { name: "status", value: (one) => one.status },
  { name: "made", value: (one) => one.made },
  { name: "people", value: (one) => one.people },
  { name: "report", value: (one) => JSON.stringify(one.report) },
]

const order = (cards: ModelCard[]) =>
  [...cards].sort(
    (a, b) => Number(b.status === "active") - Number(a.status === "active") || b.made.localeCompare(a.made),
  )

/** Switching to a model that was refused has to be meant. */
function Switch({ card, onClose, onStart }: { card: ModelCard; onClose: () => void; onStart: (job: Job) => void }) {
  const [force, setForce] = useState(false)
  const [refused, setRefused] = useState<Problem>()
  const [go, going] = useAction(async () => {
    try {
      onStart(await call<Job>("POST", path`/v1/models/${card.fingerprint}/activate`, { force, verb: card.verb }))
    } catch (failure) {
      if (failure instanceof Problem && failure.status === 409) setRefused(failure)
      else throw failure
    }
  })
  const warned = card.status === "refused" || refused
  return (
    <Dialog title={`Switch to ${card.method} ${short(card.fingerprint)}?`} onClose={onClose}>
      <p>{reportLine(card.report) || "Nothing is known of its gain."}</p>
      <p class="muted">The old model serves on until people's states for the new one are made.</p>
      {refused && <Failure problem={refused} />}
      {warned && (
        <Notice tone="warn">
          <label class="check">
            <input type="checkbox" checked={force} onChange={(event) => setForce(event.currentTarget.checked)} />
            Switch although it was refused
          </label>
        </Notice>
      )}
      {going.error && <Failure problem={going.error} />}
      <div class="actions end">
        <button type="button" autofocus onClick={onClose}>
          Keep the active one
        </button>
        <button
          type="button"
          class="primary"
          disabled={going.pending || (Boolean(warned) && !force)}
          onClick={() => go()}
        >
          {going.pending ? "Switching…" : "Switch"}
        </button>
      </div>
    </Dialog>
  )
}

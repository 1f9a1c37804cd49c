import { useState } from "preact/hooks"
import { call } from "../api/client"
import type { Data, Rule, Rules } from "../api/types"
import { useAction, useApi } from "../api/use-api"
import { count, seconds } from "../format"
import { announce } from "../parts/announce"
import { CopyAs } from "../parts/copy"
import { Failure, Load, Notice, Panel } from "../parts/panel"
import { Table } from "../parts/table"
import { Sure } from "./settings"

const DAY = 86_400
const FRAMES = ["events", "people", "texts", "preferences", "images"]

const about = (rule: Rule) =>
  rule.kind
    ? `${rule.kind}${rule.frame && rule.frame !== "events" ? ` (${rule.frame})` : ""}`
    : rule.frame || "everything else"

/** How long evidence is kept and how fast it fades. What a change deletes is counted before it is made. */
export function Retention({ data, changed }: { data: Data | undefined; changed: () => void }) {
  const rules = useApi<Rules>("/v1/retention")
  const [asked, setAsked] = useState<{ rule: Rule; deletes: number }>()
  const [frame, setFrame] = useState("")
  const [kind, setKind] = useState("")
  const [days, setDays] = useState("")
  const [half, setHalf] = useState("")
  const [tryOut, trying] = useAction(async (rule: Rule) => {
    const told = await call<Rules>("PUT", "/v1/retention?dry=true", rule)
    setAsked({ rule, deletes: told.would_delete ?? 0 })
  })
  const rule = {
    frame,
    kind: kind.trim(),
    seconds: days ? Number(days) * DAY : null,
    half_life: half ? Number(half) * DAY : null,
  }
  const kinds = [...new Set(data?.kinds.flatMap((one) => one.kind ?? []))]
  const taken = asked && asked.rule.seconds == null && asked.rule.half_life == null
  return (
    <Panel
      title="Retention"
      hint="The rule for a kind counts before that for its frame, and that before the general one. Applied every week."
    >
      <Load
        from={rules}
        lines={3}
        empty={(page) => !page.items.length && <p class="muted">No rule: everything is kept, and counts fully.</p>}
      >
        {(page) => (
          <Table
            caption="Retention rules"
            rows={page.items}
            id={(one) => `${one.frame} ${one.kind}`}
            columns={[
              { name: "Records", value: about },
              {
                name: "Deleted after",
                value: (one) => one.seconds,
                cell: (one) => (one.seconds == null ? <span class="muted">kept</span> : seconds(one.seconds)),
              },
              {
                name: "Counts half after",
                value: (one) => one.half_life,
                cell: (one) =>
                  one.half_life == null ? <span class="muted">counts fully</span> : seconds(one.half_life),
              },
              {
                name: "Change",
                cell: (one) => (
                  <button
                    type="button"
                    class="small"
                    aria-label={`Take away the rule for ${about(one)}`}
                    onClick={() => tryOut({ ...one, seconds: null, half_life: null })}
                  >
                    Take away
                  </button>
                ),
              },
            ]}
          />
        )}
      </Load>
      <form
        class="controls"
        aria-label="A rule"
        onSubmit={(event) => {
          event.preventDefault()
          tryOut(rule)
        }}
      >
        <label>
          <span class="label">Frame</span>
          <select value={frame} onChange={(event) => setFrame(event.currentTarget.value)}>
            <option value="">every frame</option>
            {FRAMES.map((one) => (
              <option key={one}>{one}</option>
            ))}
          </select>
        </label>
        <label>
          <span class="label">Kind</span>
          <input
            type="text"
            list="kinds-here"
            value={kind}
            maxLength={64}
            placeholder="every kind"
            autocomplete="off"
            onInput={(event) => setKind(event.currentTarget.value)}
          />
          <datalist id="kinds-here">
            {kinds.map((one) => (
              <option key={one} value={one} />
            ))}
          </datalist>
        </label>
        <label>
          <span class="label">Delete after days</span>
          <input
            type="number"
            class="narrow"
            min="0.01"
            max="36500"
            step="any"
            placeholder="never"
            value={days}
            onInput={(event) => setDays(event.currentTarget.value)}
          />
        </label>
        <label>
          <span class="label">Counts half after days</span>
          <input
            type="number"
            class="narrow"
            min="0.01"
            max="36500"
            step="any"
            placeholder="never"
            value={half}
            onInput={(event) => setHalf(event.currentTarget.value)}
          />
        </label>
        <button type="submit" disabled={trying.pending || (!days && !half)}>
          {trying.pending ? "Counting…" : "Set the rule…"}
        </button>
      </form>
      {trying.error && <Failure problem={trying.error} />}
      <CopyAs method="PUT" url="/v1/retention?dry=true" body={{ frame: "events", kind: "view", seconds: 90 * DAY }} />
      {asked && (
        <Sure
          title={taken ? `Take away the rule for ${about(asked.rule)}?` : `Set the rule for ${about(asked.rule)}?`}
          yes={taken ? "Take it away" : "Set it"}
          danger={asked.deletes > 0}
          onClose={() => setAsked(undefined)}
          onYes={async () => {
            await call("PUT", "/v1/retention", asked.rule)
            announce("The rules have changed")
            rules.reload()
            changed()
            setDays("")
            setHalf("")
          }}
        >
          {!taken && (
            <p>
              {asked.rule.seconds != null
                ? `Deleted when older than ${seconds(asked.rule.seconds)}. `
                : "Kept as long as the other rules say. "}
              {asked.rule.half_life != null && `Counts half after ${seconds(asked.rule.half_life)}.`}
            </p>
          )}
          <Notice tone={asked.deletes ? "bad" : "plain"}>
            {asked.deletes ? (
              <>
                <strong>{count(asked.deletes, "record")} would be deleted for good</strong> with the next purge, within
                a week.
              </>
            ) : (
              "With these rules the next purge deletes nothing."
            )}
          </Notice>
        </Sure>
      )}
    </Panel>
  )
}

import type { ComponentChildren } from "preact"
import type { DriftReport } from "../api/types"
import { count, percent, seconds } from "../format"
import { Badge } from "../parts/icons"
import { Fact } from "../parts/panel"

export function DriftVerdict({ drift }: { drift: DriftReport }) {
  const mark = drift.alarm ? (
    <Badge tone="bad">fit again</Badge>
  ) : drift.value == null ? (
    <Badge>too early to tell</Badge>
  ) : (
    <Badge tone="good">as it was fitted</Badge>
  )
  return (
    <p>
      {mark} {drift.note}
    </p>
  )
}

export function Drift({ drift }: { drift: DriftReport }) {
  const share = (name: string, value: number | null | undefined, note?: ComponentChildren) =>
    value != null && <Fact name={name} value={percent(value)} note={note} />
  return (
    <>
      <DriftVerdict drift={drift} />
      <dl class="facts">
        <Fact
          name="New events"
          value={count(drift.events)}
          note={drift.trained_events != null && `fitted on ${count(drift.trained_events)}`}
        />
        {drift.value != null && (
          <Fact name="Stability index" value={drift.value.toFixed(3)} note={`another from ${drift.threshold} on`} />
        )}
        {share("About unknown items", drift.unknown_share, "of the new events")}
        {share("Still popular", drift.still_popular, "of the most popular items")}
        {share("Lists replaced", drift.list_change, `of ${count(drift.people_compared, "person", "people")}`)}
        <Fact name="Age of the model" value={seconds(drift.model_age_seconds)} />
      </dl>
    </>
  )
}

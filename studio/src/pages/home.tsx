import { useContext } from "preact/hooks"
import { pagesOf } from "."
import { withQuery } from "../api/client"
import type { Evaluation, Me, Page, PersonCard, Status } from "../api/types"
import { useApi } from "../api/use-api"
import { bytes, count, interval, percent, seconds, short, signed } from "../format"
import { Code, CopyAs } from "../parts/copy"
import { Badge } from "../parts/icons"
import { Fact, Load, Panel } from "../parts/panel"
import { Session, useScope } from "../session"
import { DriftVerdict } from "./drift"
import { useTitle } from "../title"

const EVERY_MS = 5000

export function Home() {
  useTitle("Home")
  const me = useContext(Session)!
  return (
    <>
      <h1>Home</h1>
      {me.scopes.includes("models") && !me.person ? <Overview /> : <OwnKey me={me} />}
    </>
  )
}

/** For keys that may not see how the whole is doing: what they may do, and where. */
function OwnKey({ me }: { me: Me }) {
  return (
    <Panel
      title={me.person ? "Your key is for one person" : "What your key may do"}
      hint={`${me.label}, tenant ${me.tenant}: ${me.scopes.join(", ")}.`}
      class="next-step"
    >
      <ul class="chips">
        {pagesOf(me)
          .slice(1)
          .map((page) => (
            <li key={page.href}>
              <a class="chip" href={page.href}>
                {page.name}
              </a>
            </li>
          ))}
      </ul>
    </Panel>
  )
}

function Overview() {
  const status = useApi<Status>("/v1/status", EVERY_MS)
  const evaluation = useApi<Evaluation>("/v1/evaluation")
  return (
    <>
      <Load from={status} lines={6}>
        {(now) => (
          <>
            <NextStep status={now} />
            <Panel
              title="Now"
              hint={`Up for ${seconds(now.uptime_seconds)}, tenant ${now.tenant}.`}
              actions={<Health status={now} />}
            >
              <dl class="facts">
                <Fact name="People" value={count(now.counts.people ?? 0)} />
                <Fact name="Records" value={count(now.counts.records ?? 0)} />
                <Fact name="Items" value={count(now.counts.items ?? 0)} />
                <Fact
                  name="Personal states"
                  value={count(now.counts.states ?? 0)}
                  note={now.counts.bytes ? `${bytes(now.counts.bytes)} stored` : null}
                />
                <Fact
                  name="Waiting to adapt"
                  value={count(now.queue.people, "person", "people")}
                  note={
                    now.queue.oldest_seconds != null && now.queue.people
                      ? `oldest ${seconds(now.queue.oldest_seconds)}`
                      : "nothing is stale"
                  }
                />
                {now.freshness && (
                  <Fact
                    name="Observed to adapted"
                    value={`${now.freshness.median_ms} ms`}
                    note={`p99 ${now.freshness.p99_ms} ms`}
                  />
                )}
                <Fact name="Active model" value={now.model ? <a href="/models">{short(now.model)}</a> : "none"} />
              </dl>
              <CopyAs url="/v1/status" python="print(client.status())" />
            </Panel>
            <div class="pair">
              <Panel title="Does personalising help?" hint="The last measurement, on people kept out of fitting.">
                <Load
                  from={evaluation}
                  lines={3}
                  empty={(last) => !last.gain && <p class="muted">{last.note || "Not measured yet."}</p>}
                >
                  {(last) => <Scales last={last} />}
                </Load>
              </Panel>
              <Panel title="Why not personal?" hint="Answers since the start that were everybody's, by reason.">
                <Fallbacks counts={now.fallbacks} />
              </Panel>
            </div>
            {now.drift && (
              <Panel title="Drift">
                <DriftVerdict drift={now.drift} />
              </Panel>
            )}
          </>
        )}
      </Load>
    </>
  )
}

function Health({ status }: { status: Status }) {
  if (!status.model) return <Badge tone="warn">no model is active</Badge>
  if (status.queue.failing)
    return <Badge tone="bad">{count(status.queue.failing, "person", "people")} cannot be adapted</Badge>
  if ((status.queue.oldest_seconds ?? 0) > 60) return <Badge tone="warn">adapting is behind</Badge>
  return <Badge tone="good">healthy</Badge>
}

function Scales({ last }: { last: Evaluation }) {
  return (
    <>
      <dl class="facts">
        <Fact
          name={`Gain${last.metric ? `, ${last.metric}` : ""}`}
          value={signed(last.gain!.mean)}
          note={interval(last.gain!.low, last.gain!.high)}
        />
        {last.swap_gap && (
          <Fact
            name="Swap gap"
            value={signed(last.swap_gap.mean)}
            note={interval(last.swap_gap.low, last.swap_gap.high)}
          />
        )}
        {last.hurt != null && (
          <Fact name="Hurt by it" value={percent(last.hurt)} note={`of ${count(last.people, "person", "people")}`} />
        )}
      </dl>
      <p class="small">
        <a href="/population">How it is spread over people</a>
      </p>
    </>
  )
}

function Fallbacks({ counts }: { counts: Record<string, number> }) {
  const all = Object.entries(counts).filter(([, n]) => n > 0)
  if (!all.length) return <p class="muted">None: every answer so far was personal.</p>
  return (
    <dl class="facts">
      {all.map(([reason, n]) => (
        <Fact key={reason} name={reason} value={count(n)} />
      ))}
    </dl>
  )
}

/** What to do first, as long as something is missing. */
function NextStep({ status }: { status: Status }) {
  const people = useApi<Page<PersonCard>>(status.counts.people ? withQuery("/v1/people", { limit: 5 }) : null)
  const mayFit = useScope("models")
  if (!status.counts.records)
    return (
      <Panel title="First: tell it what happened" class="next-step">
        <p>
          Nothing is stored yet. <a href="/data">Import a file</a>, or send events, from any language; the next ones
          come in the same way.
        </p>
        <Code
          label="Copy curl"
          text={`curl -X POST ${location.origin}/v1/events \\\n  -H "Authorization: Bearer $SARTOR_KEY" \\\n  -H "Content-Type: application/json" \\\n  -d '{"events": [{"person": "ana", "item": "a-book"}]}'`}
        />
      </Panel>
    )
  if (!status.model)
    return (
      <Panel title="Next: fit a model" class="next-step">
        <p>
          There are {count(status.counts.records, "record")} of {count(status.counts.people, "person", "people")}, and
          no model that learned from them.{" "}
          {mayFit ? <a href="/models">Fit the first one.</a> : "A key with the scope “models” may fit one."}
        </p>
      </Panel>
    )
  if (!people.data?.items.length) return null
  return (
    <Panel title="Look at somebody" class="next-step">
      <ul class="chips">
        {people.data.items.map((one) => (
          <li key={one.person}>
            <a class="chip" href={`/people/${encodeURIComponent(one.person)}`}>
              {one.name ?? one.person}
              <span class="muted small">{count(one.records, "record")}</span>
            </a>
          </li>
        ))}
        <li>
          <a class="chip plain" href="/people">
            Everybody
          </a>
        </li>
      </ul>
    </Panel>
  )
}

import { useLocation } from "preact-iso"
import { withQuery } from "../api/client"
import type { Page, System } from "../api/types"
import { useApi } from "../api/use-api"
import { bytes, count, interval, plain, signed } from "../format"
import { CopyAs } from "../parts/copy"
import { CsvButton, type CsvColumn } from "../parts/csv"
import { Badge } from "../parts/icons"
import { Empty, Fact, Load, Panel } from "../parts/panel"
import { useTitle } from "../title"

type Verdict = "passed" | "failed" | "not run" | "baseline"

const verdictOf = (one: System): Verdict =>
  one.claim ? (one.claim.passed ? "passed" : "failed") : one.kind === "baseline" ? "baseline" : "not run"

/** The published systems, each with its last claim check: what the paper says, what had to hold, what was measured. */
export function Systems() {
  useTitle("Systems")
  const { query, route } = useLocation()
  const wanted = query.show ?? "all"
  const systems = useApi<Page<System>>("/v1/systems")
  return (
    <>
      <h1>Systems</h1>
      <Panel
        title="Methods and their claims"
        hint="The pass condition of each check was fixed before it ran. A failed check is shown as failed: it is information."
      >
        <Load from={systems} lines={10} empty={(page) => !page.items.length && <Empty title="The table is empty." />}>
          {(page) => {
            const tally = (verdict: string) =>
              page.items.filter((one) => verdict === "all" || verdictOf(one) === verdict)
            return (
              <>
                <nav class="tabs small-tabs" aria-label="Which systems">
                  {["all", "passed", "failed", "not run", "baseline"].map((name) => (
                    <a
                      key={name}
                      href={withQuery("/systems", { show: name === "all" ? null : name })}
                      aria-current={wanted === name ? "page" : undefined}
                      onClick={(event) => {
                        event.preventDefault()
                        route(withQuery("/systems", { show: name === "all" ? null : name }), true)
                      }}
                    >
                      {name} <span class="muted small">{tally(name).length}</span>
                    </a>
                  ))}
                </nav>
                <ul class="systems">
                  {tally(wanted).map((one) => (
                    <li key={one.slug}>
                      <OneSystem system={one} />
                    </li>
                  ))}
                </ul>
                {!tally(wanted).length && <p class="muted">None.</p>}
              </>
            )
          }}
        </Load>
        {systems.data && (
          <div class="table-foot">
            <CsvButton file="systems" columns={COLUMNS} rows={systems.data.items} />
          </div>
        )}
        <CopyAs url="/v1/systems" />
      </Panel>
    </>
  )
}

const COLUMNS: CsvColumn<System>[] = [
  { name: "system", value: (one) => one.slug },
  { name: "title", value: (one) => one.title },
  { name: "year", value: (one) => one.year },
  { name: "room", value: (one) => one.room },
  { name: "kind", value: (one) => one.kind },
  { name: "check", value: verdictOf },
  { name: "gain", value: (one) => one.claim?.gain },
  { name: "swap gap", value: (one) => one.claim?.swap_gap },
  { name: "bytes per person", value: (one) => one.claim?.state_bytes },
  { name: "date", value: (one) => one.claim?.date },
]

const MARK: Record<Verdict, "good" | "bad" | "plain"> = {
  passed: "good",
  failed: "bad",
  "not run": "plain",
  baseline: "plain",
}

function OneSystem({ system }: { system: System }) {
  const { claim } = system
  const verdict = verdictOf(system)
  const head = (
    <>
      <span class="system-name">
        <b>{system.slug}</b>
        <span class="muted">
          {system.title}
          {system.year > 1990 && `, ${system.year}`}
        </span>
      </span>
      <Badge tone={MARK[verdict]}>{verdict}</Badge>
    </>
  )
  if (!claim) return <div class="system-head">{head}</div>
  const measured = (claim.measured ?? {}) as Record<string, unknown>
  const conditions = Object.entries((claim.conditions ?? measured.conditions ?? {}) as Record<string, unknown>).filter(
    ([, held]) => typeof held === "boolean",
  )
  return (
    <details>
      <summary class="system-head">{head}</summary>
      <div class="system-body">
        {claim.claim && (
          <p>
            <span class="label">The paper says</span>
            {claim.claim}
          </p>
        )}
        {claim.passes && (
          <p>
            <span class="label">It passes when</span>
            {claim.passes}
          </p>
        )}
        {conditions.length > 0 && (
          <ul class="conditions">
            {conditions.map(([name, held]) => (
              <li key={name}>
                <Badge tone={held ? "good" : "bad"}>{held ? "held" : "failed"}</Badge> {name}
              </li>
            ))}
          </ul>
        )}
        <dl class="facts">
          {claim.gain != null && (
            <Fact name="Gain" value={signed(claim.gain)} note={interval(...(claim.gain_interval ?? []))} />
          )}
          {claim.swap_gap != null && (
            <Fact name="Swap gap" value={signed(claim.swap_gap)} note={interval(...(claim.swap_gap_interval ?? []))} />
          )}
          {claim.state_bytes != null && <Fact name="Per person" value={bytes(claim.state_bytes)} />}
          {claim.seeds && <Fact name="Runs" value={count(claim.seeds.length, "seed")} note={plain(claim.data)} />}
          {claim.date && <Fact name="Checked" value={claim.date.slice(0, 10)} />}
        </dl>
        {claim.measured != null && (
          <details>
            <summary>Everything that was measured</summary>
            <pre class="log" tabIndex={0}>
              {JSON.stringify({ measured: claim.measured, baseline: claim.baseline }, null, 2)}
            </pre>
          </details>
        )}
      </div>
    </details>
  )
}

import { save } from "../../api/client"
import type { Answer, Erasure } from "../../api/types"
import { bytes, count, plain, seconds, short } from "../../format"
import { CopyButton } from "../../parts/copy"
import { Badge } from "../../parts/icons"
import { Fact, Panel } from "../../parts/panel"
import { Table } from "../../parts/table"
import { Time } from "../../parts/time"

const SHOWN = new Set(["person", "removed", "verified", "seconds", "finished", "scanned", "models"])

/** Proof of an erasure: what was removed where, whether a search afterwards found anything, and what the server says now. */
export function Receipt({ person, erasure, after }: { person: string; erasure: Erasure; after: Answer | null }) {
  const removed = Object.entries(erasure.removed)
  const text = JSON.stringify(erasure, null, 2)
  const rest = Object.entries(erasure).filter(([name, value]) => !SHOWN.has(name) && value !== null && value !== "" && !(Array.isArray(value) && !value.length))
  return (
    <Panel
      title={`${person} is forgotten`}
      hint="This receipt is all that is left. Keep it if you need a proof; the server holds no copy under this id."
      class="receipt"
      actions={
        <>
          <CopyButton text={text} label="Copy receipt" />
          <button type="button" class="small" onClick={() => save(new Blob([text], { type: "application/json" }), "erasure.json")}>
            Download receipt
          </button>
        </>
      }
    >
      <dl class="facts">
        <Fact name="Removed" value={count(removed.reduce((sum, [, n]) => sum + n, 0), "entry", "entries")} />
        <Fact name="Searched afterwards" value={erasure.verified ? <Badge tone="good">nothing found</Badge> : <Badge tone="bad">not verified</Badge>} />
        <Fact name="Took" value={seconds(erasure.seconds)} />
        <Fact name="Finished" value={<Time at={erasure.finished} />} />
      </dl>
      <Table
        caption="What was removed"
        rows={removed}
        id={([where]) => where}
        columns={[
          { name: "Removed from", cell: ([where]) => where.replaceAll("_", " ") },
          { name: "Entries", number: true, cell: ([, n]) => count(n) },
        ]}
      />
      {erasure.scanned && erasure.scanned.length > 0 && (
        <Table
          caption="What was searched afterwards"
          rows={erasure.scanned}
          id={(one) => one.where}
          columns={[
            { name: "Searched", cell: (one) => one.where },
            { name: "Size", number: true, cell: (one) => bytes(one.bytes) },
            { name: "Found", number: true, cell: (one) => count(one.found) },
          ]}
        />
      )}
      <h3>Asked again just now</h3>
      <p>
        {after === null ? (
          "The server could not be asked."
        ) : after.fallback ? (
          <>
            <Badge tone="good">{after.fallback}</Badge> {person} gets everybody's list, as somebody never seen does.
          </>
        ) : (
          <Badge tone="bad">the server still answers with a personal state</Badge>
        )}
      </p>
      {erasure.models && erasure.models.length > 0 && (
        <p class="muted">
          {count(erasure.models.length, "shared model")} had learned from this person among others ({erasure.models.map(short).join(", ")}); the next fit does without.
        </p>
      )}
      {rest.length > 0 && (
        <dl class="facts">
          {rest.map(([name, value]) => (
            <Fact key={name} name={name.replaceAll("_", " ")} value={plain(value)} />
          ))}
        </dl>
      )}
    </Panel>
  )
}

import { save } from "../../api/client"
import type { Answer, Erasure } from "../../api/types"
import { bytes, count, seconds, short } from "../../format"
import { CopyButton } from "../../parts/copy"
import { Badge } from "../../parts/icons"
import { Fact, Panel } from "../../parts/panel"
import { Table } from "../../parts/table"
import { Time } from "../../parts/time"

/** Proof of an erasure: what was removed where, whether a search afterwards found anything, and what the server says now. */
export function Receipt({ person, erasure, after }: { person: string; erasure: Erasure; after: Answer | null }) {
  const removed = Object.entries(erasure.removed)
  const left = Object.values(erasure.left ?? {}).reduce((sum, n) => sum + n, 0)
  const text = JSON.stringify(erasure, null, 2)
  return (
    <Panel
      title={`${person} is forgotten`}
      hint="Keep this receipt if you need a proof: the server holds no copy under this id."
      class="receipt"
      actions={
        <>
          <CopyButton text={text} label="Copy receipt" />
          <button
            type="button"
            class="small"
            onClick={() => save(new Blob([text], { type: "application/json" }), "erasure.json")}
          >
            Download receipt
          </button>
        </>
      }
    >
      <dl class="facts">
        <Fact
          name="Removed"
          value={count(
            removed.reduce((sum, [, n]) => sum + n, 0),
            "entry",
            "entries",
          )}
          note={erasure.bytes ? `${bytes(erasure.bytes)} of evidence and states` : null}
        />
        <Fact
          name="Proof"
          value={erasure.verified ? <Badge tone="good">verified</Badge> : <Badge tone="warn">not verified</Badge>}
          note={erasure.left && `${count(left, "entry", "entries")} left`}
        />
        <Fact name="Took" value={seconds(erasure.seconds)} />
        <Fact name="Finished" value={<Time at={erasure.finished} />} />
      </dl>
      <div class="pair">
        <div>
          <h3>Removed from</h3>
          <Table
            caption="What was removed"
            rows={removed}
            id={([where]) => where}
            columns={[
              { name: "Place", cell: ([where]) => where.replaceAll("_", " ") },
              { name: "Entries", number: true, cell: ([, n]) => count(n) },
              {
                name: "Left",
                number: true,
                cell: ([where]) => (erasure.left?.[where] === undefined ? "" : count(erasure.left[where])),
              },
            ]}
          />
        </div>
        <div class="stack">
          <h3>Searched afterwards</h3>
          {erasure.scan ? <Search scan={erasure.scan} /> : <p>The files were not searched.</p>}
          <h3>Asked again just now</h3>
          <Again person={person} after={after} />
          {erasure.models && erasure.models.length > 0 && (
            <>
              <h3>Shared models</h3>
              <p>
                {count(erasure.models.length, "model")} had learned from this person among others:{" "}
                {erasure.models.map((one) => `${one.method} ${short(one.fingerprint)}`).join(", ")}. The next fit does
                without.
              </p>
            </>
          )}
          {erasure.note && <p class="muted">{erasure.note}</p>}
        </div>
      </div>
    </Panel>
  )
}

/** A look at the bytes of the files: for the id, the keys and the rows of the person. */
function Search({ scan }: { scan: NonNullable<Erasure["scan"]> }) {
  return (
    <>
      <p>
        {scan.hits.length ? (
          <Badge tone="bad">found {count(scan.hits.length, "trace")}</Badge>
        ) : (
          <Badge tone="good">nothing found</Badge>
        )}{" "}
        {count(scan.needles, "pattern")} in {count(scan.files, "file")}, {bytes(scan.nbytes)}, in{" "}
        {seconds(scan.seconds)}.
      </p>
      {scan.too_short.length > 0 && (
        <p class="muted small">Not searched for, since chance would find it too: {scan.too_short.join(", ")}.</p>
      )}
      {scan.unreadable.length > 0 && <p class="muted small">Could not be read: {scan.unreadable.join(", ")}.</p>}
    </>
  )
}

function Again({ person, after }: { person: string; after: Answer | null }) {
  if (after === null) return <p>The server could not be asked.</p>
  if (!after.fallback) return <Badge tone="bad">the server still answers with a personal state</Badge>
  return (
    <p>
      <Badge tone="good">{after.fallback}</Badge> {person} gets everybody's list, as somebody never seen does.
    </p>
  )
}

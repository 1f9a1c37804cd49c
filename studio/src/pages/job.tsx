import { useEffect, useRef, useState } from "preact/hooks"
import { call, follow, path, Problem } from "../api/client"
import type { ImportResult, Job } from "../api/types"
import { useAction } from "../api/use-api"
import { count, percent, seconds, short } from "../format"
import { announce } from "../parts/announce"
import { Badge } from "../parts/icons"
import { Fact, Failure, Panel, Skeleton } from "../parts/panel"
import { Table } from "../parts/table"
import { Time } from "../parts/time"
import { useScope } from "../session"

const TONES = { queued: "plain", running: "warn", done: "good", failed: "bad", cancelled: "plain" } as const
export const ENDED = new Set(["done", "failed", "cancelled"])
const AGAIN_MS = 1500
const POLL_MS = 700

/** What a job is doing, in a few words. */
export function jobName(job: Job): string {
  const { method, fingerprint, into } = job.args as Record<string, string | undefined>
  if (job.kind === "fit" && method) return `Fit ${method}`
  if (job.kind === "switch" && fingerprint) return `Switch to ${short(fingerprint)}`
  if (job.kind === "import") return `Import of ${into ?? "a file"}`
  return job.kind
}

export function JobStatus({ job }: { job: Job }) {
  const running = job.status === "running"
  return running ? <Badge>{percent(job.progress)}</Badge> : <Badge tone={TONES[job.status]}>{job.status}</Badge>
}

/** How fast it goes and how long it may still take, from how its progress grew while it was watched. */
function usePace(job: Job | undefined): string {
  const seen = useRef<{ at: number; share: number }[]>([])
  if (!job || job.status !== "running") return job?.status === "queued" ? "It waits for its turn." : ""
  const now = Date.now()
  const last = seen.current.at(-1)
  if (!last || job.progress > last.share) seen.current.push({ at: now, share: job.progress })
  seen.current = seen.current.filter((one) => now - one.at < 60_000).slice(-50)
  const first = seen.current[0]
  const took = first ? (now - first.at) / 1000 : 0
  if (!first || took < 2 || job.progress <= first.share) return "Too early to say how long it takes."
  const rate = (job.progress - first.share) / took
  return `${(rate * 100).toPrecision(2)} % a second, about ${seconds((1 - job.progress) / rate)} left.`
}

interface JobPanelProps {
  id: string
  onEnd?: (job: Job) => void
  /** Imports can be followed and cancelled with the scope `write` too, at an address of their own. */
  base?: "/v1/jobs" | "/v1/imports"
}

/** A job while it runs, live; when the stream breaks it is taken up again. */
export function JobPanel({ id, onEnd, base = "/v1/jobs" }: JobPanelProps) {
  const [job, setJob] = useState<Job>()
  const [error, setError] = useState<Problem>()
  const url = base + path`/${id}`
  const mayStream = useScope("models")
  const ended = useRef(false)

  function take(next: Job) {
    setJob(next)
    setError(undefined)
    if (ENDED.has(next.status) && !ended.current) {
      ended.current = true
      announce(`Job ${next.status}`)
      onEnd?.(next)
    }
  }

  useEffect(() => {
    const stop = new AbortController()
    let timer: number | undefined
    ended.current = false
    async function watch() {
      try {
        take(await call<Job>("GET", url, undefined, stop.signal))
        if (!ended.current && mayStream) await follow<Job>(path`/v1/jobs/${id}/stream`, take, stop.signal)
        if (!ended.current) timer = window.setTimeout(watch, mayStream ? AGAIN_MS : POLL_MS)
      } catch (failure) {
        if (stop.signal.aborted) return
        setError(failure instanceof Problem ? failure : new Problem(0, "The connection broke", "Trying again."))
        // Too many streams are open, or the server is away: look again later.
        if (!(failure instanceof Problem) || failure.offline || failure.status === 503)
          timer = window.setTimeout(watch, AGAIN_MS)
      }
    }
    watch()
    return () => {
      stop.abort()
      window.clearTimeout(timer)
    }
  }, [url])

  const [cancel, cancelling] = useAction(async () => void (await call("DELETE", url)))
  const pace = usePace(job)
  const going = job && !ENDED.has(job.status)
  return (
    <Panel
      title={job ? jobName(job) : "Job"}
      hint={
        <>
          Job {id}
          {job && (
            <>
              , created <Time at={job.created} relative />
            </>
          )}
        </>
      }
      class="job"
      actions={
        <>
          {job && <JobStatus job={job} />}
          {going && (
            <button type="button" class="small danger" disabled={cancelling.pending} onClick={() => cancel()}>
              {cancelling.pending ? "Stopping…" : "Cancel"}
            </button>
          )}
        </>
      }
    >
      {error && <Failure problem={error} />}
      {cancelling.error && <Failure problem={cancelling.error} />}
      {!job && !error && <Skeleton lines={3} />}
      {job && (
        <>
          <label class="label" for={`progress-${id}`}>
            {job.error ?? (job.message || job.status)}
          </label>
          <progress id={`progress-${id}`} max={1} value={job.status === "done" ? 1 : job.progress} />
          <p class="small muted">
            {job.finished
              ? `Took ${seconds((Date.parse(job.finished) - Date.parse(job.started ?? job.created)) / 1000)}.`
              : pace}
          </p>
          <Result job={job} />
          {job.log.length > 0 && (
            <details open={job.status === "failed"}>
              <summary>Log, {count(job.log.length, "line")}</summary>
              <pre class="log" tabIndex={0}>
                {job.log.join("\n")}
              </pre>
            </details>
          )}
        </>
      )}
    </Panel>
  )
}

function Result({ job }: { job: Job }) {
  if (!job.result) return null
  if (job.kind === "import") return <Imported told={job.result as unknown as ImportResult} />
  if (typeof job.result.accepted !== "boolean") return null
  return (
    <p>
      {job.result.accepted ? <Badge tone="good">accepted</Badge> : <Badge tone="bad">refused</Badge>}{" "}
      {job.result.activated ? "It serves now." : "The active model serves on."} <a href="/models">Models</a>
    </p>
  )
}

function Imported({ told }: { told: ImportResult }) {
  return (
    <>
      <dl class="facts">
        <Fact name="Rows" value={count(told.rows)} />
        <Fact name="Stored" value={count(told.stored)} />
        <Fact name="There already" value={count(told.duplicates)} />
        <Fact name="Could not be taken" value={count(told.bad)} />
      </dl>
      {told.problems.length > 0 && (
        <>
          <h3>
            Rows that could not be taken
            {told.bad > told.problems.length && (
              <span class="muted small"> the first {count(told.problems.length)}</span>
            )}
          </h3>
          <Table
            caption="Rows that could not be taken"
            file="rows that could not be taken"
            rows={told.problems}
            id={(one) => String(one.row)}
            columns={[
              { name: "Row", value: (one) => one.row, cell: (one) => count(one.row) },
              { name: "Column", value: (one) => one.column, cell: (one) => one.column ?? <span class="muted">–</span> },
              { name: "Problem", value: (one) => one.problem },
            ]}
          />
        </>
      )}
    </>
  )
}

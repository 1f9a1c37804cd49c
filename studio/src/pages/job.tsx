import { useEffect, useRef, useState } from "preact/hooks"
import { call, follow, path, Problem } from "../api/client"
import type { Job } from "../api/types"
import { useAction } from "../api/use-api"
import { count, percent, seconds } from "../format"
import { announce } from "../parts/announce"
import { Badge } from "../parts/icons"
import { Failure, Panel, Skeleton } from "../parts/panel"

const TONES = { queued: "plain", running: "warn", done: "good", failed: "bad", cancelled: "plain" } as const
const ENDED = new Set(["done", "failed", "cancelled"])
const AGAIN_MS = 1500

export function JobStatus({ job }: { job: Job }) {
  const running = job.status === "running"
  return running ? <Badge>{percent(job.progress)}</Badge> : <Badge tone={TONES[job.status]}>{job.status}</Badge>
}

/** A job while it runs, live; when the stream breaks it is taken up again. */
export function JobPanel({ id, onEnd }: { id: string; onEnd: () => void }) {
  const [job, setJob] = useState<Job>()
  const [error, setError] = useState<Problem>()
  const url = path`/v1/jobs/${id}`
  const ended = useRef(false)

  function take(next: Job) {
    setJob(next)
    setError(undefined)
    if (ENDED.has(next.status) && !ended.current) {
      ended.current = true
      announce(`Job ${next.status}`)
      onEnd()
    }
  }

  useEffect(() => {
    const stop = new AbortController()
    let timer: number | undefined
    async function watch() {
      try {
        take(await call<Job>("GET", url, undefined, stop.signal))
        if (!ended.current) await follow<Job>(`${url}/stream`, take, stop.signal)
        if (!ended.current) timer = window.setTimeout(watch, AGAIN_MS)
      } catch (failure) {
        if (stop.signal.aborted) return
        setError(failure instanceof Problem ? failure : new Problem(0, "The connection broke", "Trying again."))
        if (!(failure instanceof Problem) || failure.offline) timer = window.setTimeout(watch, AGAIN_MS)
      }
    }
    watch()
    return () => {
      stop.abort()
      window.clearTimeout(timer)
    }
  }, [url])

  const [cancel, cancelling] = useAction(async () => void (await call("DELETE", url)))
  const going = job && !ENDED.has(job.status)
  return (
    <Panel
      title={`Job ${id.slice(0, 8)}`}
      hint={job?.kind}
      actions={
        <>
          {job && <JobStatus job={job} />}
          {going && (
            <button type="button" class="small danger" disabled={cancelling.pending} onClick={() => cancel()}>
              Cancel
            </button>
          )}
        </>
      }
    >
      {error && <Failure problem={error} />}
      {cancelling.error && <Failure problem={cancelling.error} />}
      {!job && !error && <Skeleton lines={2} />}
      {job && (
        <>
          <label class="label" for="job-progress">
            {job.error ?? (job.message || job.status)}
          </label>
          <progress id="job-progress" max={1} value={job.status === "done" ? 1 : job.progress} />
          {job.finished && (
            <p class="small muted">
              Took {seconds((Date.parse(job.finished) - Date.parse(job.started ?? job.created)) / 1000)}.
            </p>
          )}
          {job.result && typeof job.result.accepted === "boolean" && (
            <p>
              {job.result.accepted ? <Badge tone="good">accepted</Badge> : <Badge tone="bad">refused</Badge>}{" "}
              {job.result.activated ? "It serves now." : "The active model serves on."}
            </p>
          )}
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

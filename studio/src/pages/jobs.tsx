import { useEffect, useState } from "preact/hooks"
import { path } from "../api/client"
import type { Job, Page } from "../api/types"
import { useApi } from "../api/use-api"
import { seconds } from "../format"
import { CopyAs } from "../parts/copy"
import { Empty, Load, Panel } from "../parts/panel"
import { Table, type Column } from "../parts/table"
import { Time } from "../parts/time"
import { useTitle } from "../title"
import { ENDED, JobPanel, jobName, JobStatus } from "./job"

const SOON_MS = 2000
const LATER_MS = 15_000

/** All long work: fits, switches, imports, and whatever else is queued; one of them with its progress and log. */
export function Jobs({ job }: { job?: string }) {
  useTitle(job ? `Job ${job.slice(0, 8)}` : "Jobs")
  const [busy, setBusy] = useState(true)
  const jobs = useApi<Page<Job>>("/v1/jobs?limit=1000", busy ? SOON_MS : LATER_MS)
  useEffect(() => setBusy(jobs.data?.items.some((one) => !ENDED.has(one.status)) ?? true), [jobs.data])
  return (
    <>
      <h1>Jobs</h1>
      {job && <JobPanel key={job} id={job} onEnd={jobs.reload} />}
      <Panel
        title="All jobs"
        hint={`The newest first, at most 1,000.${busy ? "" : " Nothing is running."}`}
        actions={
          <>
            <a href="/models">Fit a model</a>
            <a href="/data">Import a file</a>
          </>
        }
      >
        <Load
          from={jobs}
          lines={6}
          empty={(page) =>
            !page.items.length && (
              <Empty title="No job has run yet.">Fits, switches and imports are followed here.</Empty>
            )
          }
        >
          {(page) => <Table long caption="Jobs" rows={page.items} id={(one) => one.id} columns={columns(job)} />}
        </Load>
        <CopyAs
          url="/v1/jobs"
          python={"for job in client.jobs().items:\n    print(job.kind, job.status, job.progress)"}
        />
      </Panel>
    </>
  )
}

const took = (job: Job) =>
  job.started ? (Date.parse(job.finished ?? new Date().toISOString()) - Date.parse(job.started)) / 1000 : null

const columns = (current?: string): Column<Job>[] => [
  {
    name: "Job",
    value: (one) => one.id,
    cell: (one) => (
      <a href={path`/jobs/${one.id}`} aria-current={one.id === current ? "true" : undefined}>
        {jobName(one)} <span class="muted small">{one.id.slice(0, 8)}</span>
      </a>
    ),
  },
  { name: "Kind", apart: true, value: (one) => one.kind },
  { name: "Status", value: (one) => one.status, cell: (one) => <JobStatus job={one} /> },
  { name: "Done", apart: true, value: (one) => one.progress },
  { name: "Created", wide: true, value: (one) => one.created, cell: (one) => <Time at={one.created} relative /> },
  {
    name: "Took",
    wide: true,
    number: true,
    room: "narrow",
    value: took,
    cell: (one) => (took(one) === null ? "" : seconds(took(one)!)),
  },
  { name: "Message", wide: true, room: "broad", value: (one) => one.error || one.message },
]

import { useEffect, useRef, useState } from "preact/hooks"
import { Problem, upload, withQuery } from "../../api/client"
import type { Job, Preview } from "../../api/types"
import { useAction } from "../../api/use-api"
import { bytes, count, percent } from "../../format"
import { announce } from "../../parts/announce"
import { Drop } from "../../parts/drop"
import { Failure, Panel, Skeleton } from "../../parts/panel"
import { JobPanel } from "../job"
import { Mapping, type Into, type Plan } from "./mapping"

type Format = "csv" | "jsonl" | "parquet"

const FORMATS: Record<string, Format> = {
  csv: "csv",
  tsv: "csv",
  txt: "csv",
  jsonl: "jsonl",
  ndjson: "jsonl",
  json: "jsonl",
  parquet: "parquet",
}
const HEAD = 256 * 1024 // bytes of a text file that are looked at

/** A file of events or items: chosen or dropped, looked at, mapped, checked, imported. */
export function Import({ onEnd }: { onEnd: () => void }) {
  const [into, setInto] = useState<Into>("events")
  const [file, setFile] = useState<{ file: File; format: Format }>()
  const [wrong, setWrong] = useState<Problem>()
  const [seen, setSeen] = useState<{ of: Into; preview: Preview }>()
  const [share, setShare] = useState<number>()
  const [job, setJob] = useState<string>()
  const sending = useRef<AbortController | undefined>(undefined)

  function choose(chosen: File | undefined) {
    if (!chosen) return
    const format = FORMATS[chosen.name.split(".").at(-1)!.toLowerCase()]
    setSeen(undefined)
    setJob(undefined)
    setFile(undefined)
    if (!format)
      setWrong(
        new Problem(
          -1,
          "This kind of file is not read",
          `“${chosen.name}” is neither CSV nor JSON lines nor Parquet.`,
          "Its name ends in .csv, .tsv, .jsonl, .ndjson or .parquet; packed files are unpacked first.",
        ),
      )
    else {
      setWrong(undefined)
      setFile({ file: chosen, format })
    }
  }

  useEffect(() => {
    if (!file) return
    const stop = new AbortController()
    const whole = file.format === "parquet" || file.file.size <= HEAD
    const url = withQuery("/v1/imports/preview", { format: file.format, into, whole })
    upload<Preview>(url, whole ? file.file : file.file.slice(0, HEAD), stop.signal).then(
      (preview) => {
        setSeen({ of: into, preview })
        setWrong(undefined)
        announce(`${file.file.name}: ${count(preview.columns.length, "column")}`)
      },
      (failure: unknown) => {
        if (stop.signal.aborted) return
        setSeen(undefined)
        setWrong(failure instanceof Problem ? failure : new Problem(-1, "Unexpected", String(failure)))
      },
    )
    return () => stop.abort()
  }, [file, into])

  const [send, sent] = useAction(async (plan: Plan) => {
    const stop = (sending.current = new AbortController())
    setShare(0)
    try {
      const url = withQuery("/v1/imports", {
        into,
        format: file!.format,
        columns: JSON.stringify(plan.columns),
        keep: JSON.stringify(plan.keep),
        unit: plan.unit,
        bad: plan.skip ? "skip" : "refuse",
      })
      setJob((await upload<Job>(url, file!.file, stop.signal, setShare)).id)
    } catch (failure) {
      if (!stop.signal.aborted) throw failure
    } finally {
      setShare(undefined)
    }
  })

  const preview = seen && seen.of === into ? seen.preview : undefined
  return (
    <>
      <Panel
        title="Import a file"
        hint="Every row is checked before the first one is stored. Sending a file again stores nothing twice."
        class="import"
        actions={
          file && (
            <button
              type="button"
              class="small"
              onClick={() => (setFile(undefined), setSeen(undefined), setJob(undefined))}
            >
              Another file
            </button>
          )
        }
      >
        <fieldset class="choices">
          <legend class="label">It holds</legend>
          {(["events", "items"] as const).map((one) => (
            <label key={one} class="check">
              <input type="radio" name="into" checked={into === one} onChange={() => setInto(one)} />
              <span>
                <b>{one}</b>{" "}
                <span class="muted small">
                  {one === "events" ? "who did what, when" : "what there is to recommend"}
                </span>
              </span>
            </label>
          ))}
        </fieldset>
        {file ? (
          <p class="chosen-file">
            <b>{file.file.name}</b> <span class="muted small">{bytes(file.file.size)}</span>
          </p>
        ) : (
          <Drop
            label="Choose a file"
            accept=".csv,.tsv,.txt,.jsonl,.ndjson,.json,.parquet"
            onFiles={([one]) => choose(one)}
          >
            CSV, JSON lines or Parquet; text in UTF-8, with the names of the columns in the first line
          </Drop>
        )}
        {wrong && <Failure problem={wrong} />}
        {file && !preview && !wrong && <Skeleton lines={5} />}
        {file && preview && (
          <Mapping
            key={`${into} ${file.file.name} ${file.file.lastModified}`}
            into={into}
            preview={preview}
            busy={share !== undefined}
            onSend={send}
          />
        )}
        {share !== undefined && (
          <div class="sending">
            <label class="label" for="sending">
              {share < 1 ? `Sending, ${percent(share)}` : "Sent; the server takes it in"}
            </label>
            <progress id="sending" max={1} value={share} />
            <button type="button" class="small danger" onClick={() => sending.current?.abort()}>
              Stop
            </button>
          </div>
        )}
        {sent.error && <Failure problem={sent.error} />}
      </Panel>
      {job && <JobPanel key={job} id={job} base="/v1/imports" onEnd={onEnd} />}
    </>
  )
}

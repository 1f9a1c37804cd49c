import type { ComponentChildren } from "preact"
import { useId } from "preact/hooks"
import type { Problem } from "../api/client"
import type { Resource } from "../api/use-api"
import { Icon } from "./icons"

interface PanelProps {
  title: string
  hint?: ComponentChildren
  actions?: ComponentChildren
  class?: string
  children: ComponentChildren
}

/** A titled part of a page. */
export function Panel({ title, hint, actions, class: extra = "", children }: PanelProps) {
  const id = useId()
  return (
    <section class={`panel ${extra}`} aria-labelledby={id}>
      <header class="panel-head">
        <div>
          <h2 id={id}>{title}</h2>
          {hint && <p class="hint">{hint}</p>}
        </div>
        {actions && <div class="actions">{actions}</div>}
      </header>
      {children}
    </section>
  )
}

interface LoadProps<T> {
  from: Resource<T>
  lines?: number
  empty?: (data: T) => ComponentChildren | false | null | undefined
  children: (data: T) => ComponentChildren
}

/** One of: loading, what went wrong, nothing there, what is there. Old data stays visible under a notice when a refresh fails. */
export function Load<T>({ from, lines = 4, empty, children }: LoadProps<T>) {
  if (from.data === undefined)
    return from.error ? <Failure problem={from.error} retry={from.reload} /> : <Skeleton lines={lines} />
  return (
    <div aria-busy={from.loading} class="loaded">
      {from.error && <Failure problem={from.error} retry={from.reload} />}
      {empty?.(from.data) || children(from.data)}
    </div>
  )
}

export function Skeleton({ lines = 4 }: { lines?: number }) {
  return (
    <div class="skeleton" role="status">
      <span class="sr-only">Loading</span>
      {Array.from({ length: lines }, (_, at) => (
        <i key={at} />
      ))}
    </div>
  )
}

/** A problem in the server's own words: what, what to do, and which request to ask about. */
export function Failure({ problem, retry }: { problem: Problem; retry?: () => void }) {
  return (
    <div class="notice bad" role="alert">
      <Icon name="alert" />
      <div>
        <strong>{problem.status === 403 ? "This key does not allow it" : problem.title}</strong>
        <p>
          {problem.fix ? problem.detail.replace(/[^.!?:]$/, "$&:") : problem.detail}{" "}
          {problem.fix && <span>{problem.fix}</span>}
        </p>
        {problem.requestId && <p class="muted small">Request {problem.requestId}</p>}
      </div>
      {retry && (
        <button type="button" onClick={retry}>
          Try again
        </button>
      )}
    </div>
  )
}

export function Notice({
  tone = "plain",
  children,
}: {
  tone?: "plain" | "warn" | "good" | "bad"
  children: ComponentChildren
}) {
  return (
    <div class={`notice ${tone}`}>
      {tone !== "plain" && <Icon name={tone === "good" ? "check" : "alert"} />}
      <div>{children}</div>
    </div>
  )
}

/** Nothing here yet, and what to do about it. */
export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <svg viewBox="0 0 96 40" aria-hidden="true">
        <path d="M4 28c14-22 26-22 38-8s26 14 34-6" />
        <path class="needle" d="m76 14 16-10M88.500 6.200l.6.9" />
      </svg>
      <strong>{title}</strong>
      {children && <div class="muted">{children}</div>}
    </div>
  )
}

/** One number with its name and unit. */
export function Fact({ name, value, note }: { name: string; value: ComponentChildren; note?: ComponentChildren }) {
  return (
    <div class="fact">
      <dt>{name}</dt>
      <dd>
        <b class={typeof value === "string" && value.length > 13 ? "lengthy" : undefined}>{value}</b>
        {note && <span class="muted small">{note}</span>}
      </dd>
    </div>
  )
}

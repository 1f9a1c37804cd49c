import { ago, iso, local } from "../format"

/** ISO in UTC, the reader's own time in the tooltip; `relative` says how long ago instead. */
export function Time({ at, relative = false }: { at: string | null | undefined; relative?: boolean }) {
  if (!at) return <span class="muted">–</span>
  return (
    <time dateTime={at} title={relative ? `${iso(at)} · ${local(at)}` : local(at)}>
      {relative ? ago(at) : iso(at)}
    </time>
  )
}

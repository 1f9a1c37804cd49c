import { count } from "../../format"

/** A few names with their counts, longest bar first. */
export function Bars({ rows, unit }: { rows: { id: string; name: string; count: number }[]; unit: string }) {
  if (!rows.length) return <p class="muted">None yet.</p>
  const most = Math.max(...rows.map((row) => row.count))
  return (
    <ul class="bars">
      {rows.map((row) => (
        <li key={row.id}>
          <span class="bars-name">{row.name}</span>
          <span class="small muted">{count(row.count, unit)}</span>
          {most > 1 && (
            <svg class="bar" width="100%" height="6" aria-hidden="true">
              <rect width="100%" height="6" rx="3" class="bar-ground" />
              <rect width={`${(row.count / most) * 100}%`} height="6" rx="3" class="bar-own" />
            </svg>
          )}
        </li>
      ))}
    </ul>
  )
}

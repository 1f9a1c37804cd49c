const whole = new Intl.NumberFormat("en")
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "short" })

export const count = (n: number, one?: string, many = `${one}s`) =>
  one ? `${whole.format(n)} ${n === 1 ? one : many}` : whole.format(n)

export function bytes(n: number): string {
  if (n < 1000) return `${whole.format(Math.round(n))} B`
  const power = Math.min(Math.floor(Math.log10(n) / 3), 4)
  return `${(n / 1000 ** power).toPrecision(3)} ${["", "kB", "MB", "GB", "TB"][power]}`
}

export function seconds(s: number): string {
  if (s < 0.9995) return `${(s * 1000).toPrecision(s < 0.01 ? 2 : 3)} ms`
  if (s < 120) return `${s < 10 ? s.toFixed(1) : Math.round(s)} s`
  if (s < 7200) return `${Math.round(s / 60)} min`
  if (s < 172_800) return `${Math.round(s / 3600)} h`
  return `${Math.round(s / 86_400)} days`
}

export function ago(iso: string, now = Date.now()): string {
  const s = (Date.parse(iso) - now) / 1000
  const far = Math.abs(s)
  if (far < 60) return relative.format(Math.round(s), "second")
  if (far < 3600) return relative.format(Math.round(s / 60), "minute")
  if (far < 86_400) return relative.format(Math.round(s / 3600), "hour")
  if (far < 60 * 86_400) return relative.format(Math.round(s / 86_400), "day")
  if (far < 700 * 86_400) return relative.format(Math.round(s / 2_629_800), "month")
  return relative.format(Math.round(s / 31_557_600), "year")
}

/** ISO 8601 in UTC, to the second. */
export const iso = (time: string) =>
  new Date(time)
    .toISOString()
    .replace("T", " ")
    .replace(/\.\d+Z$/, "Z")

export const local = (time: string) => new Date(time).toLocaleString("en", { dateStyle: "full", timeStyle: "long" })

/** A gain: its sign is always there, with a real minus. */
export const signed = (x: number, digits = 3) => (x < 0 ? "−" : "+") + Math.abs(x).toFixed(digits)

export const interval = (low?: number | null, high?: number | null, digits = 3) =>
  low == null || high == null ? "" : `[${signed(low, digits)}, ${signed(high, digits)}]`

export const percent = (x: number) => `${(x * 100).toFixed(x > 0 && x < 0.0995 ? 1 : 0)} %`

export const score = (x: number | null | undefined) =>
  x == null ? "" : (Math.abs(x) >= 100 ? x.toFixed(1) : x.toFixed(3)).replace("-", "−")

/** The first letters of a long hash. */
export const short = (hash: string) => hash.slice(0, 10)

/** Anything a person or a catalogue may hold, as text. */
export function plain(value: unknown): string {
  if (value === null || value === undefined) return "–"
  if (Array.isArray(value)) return value.map(plain).join(", ")
  return typeof value === "object" ? JSON.stringify(value) : String(value)
}

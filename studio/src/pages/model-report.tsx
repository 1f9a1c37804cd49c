import { bytes, interval, percent, plain, seconds, short, signed } from "../format"
import { Fact, Notice } from "../parts/panel"

type Report = Record<string, unknown>

interface Scale {
  mean: number
  low: number | null
  high: number | null
}

/** A scale of the report: a number, or a mean with its interval. */
function scale(value: unknown): Scale | null {
  if (typeof value === "number") return { mean: value, low: null, high: null }
  if (typeof value !== "object" || value === null) return null
  const told = value as Report
  const mean = told.mean ?? told.value
  const number = (one: unknown) => (typeof one === "number" ? one : null)
  return typeof mean === "number" ? { mean, low: number(told.low), high: number(told.high) } : null
}

export function reportLine(report: Report): string {
  const gain = scale(report.gain)
  return gain ? `Gain ${signed(gain.mean)} ${interval(gain.low, gain.high)} on people it had not seen.` : ""
}

/** What was measured when the model was made, and why it was refused if it was. */
export function ModelReport({ report, refused }: { report: Report; refused: boolean }) {
  const gain = scale(report.gain)
  const gap = scale(report.swap_gap)
  const reason = report.reason ?? report.refused
  const against = report.compared_with as Report | null | undefined
  const settings = Object.entries((report.settings as Report | null) ?? {})
  return (
    <>
      {refused && typeof reason === "string" && <Notice tone="bad">{reason}</Notice>}
      <dl class="facts">
        {gain && (
          <Fact
            name={`Gain${typeof report.metric === "string" ? `, ${report.metric}` : ""}`}
            value={signed(gain.mean)}
            note={interval(gain.low, gain.high)}
          />
        )}
        {gap && <Fact name="Swap gap" value={signed(gap.mean)} note={interval(gap.low, gap.high)} />}
        {typeof report.hurt === "number" && <Fact name="Hurt by it" value={percent(report.hurt)} />}
        {against && typeof against.difference === "number" && (
          <Fact
            name={`Against ${typeof against.fingerprint === "string" ? short(against.fingerprint) : "the active one"}`}
            value={signed(against.difference)}
            note={interval(against.low as number | null, against.high as number | null)}
          />
        )}
        {typeof report.state_bytes === "number" && <Fact name="Per person" value={bytes(report.state_bytes)} />}
        {typeof report.seconds === "number" && <Fact name="Fitting took" value={seconds(report.seconds)} />}
      </dl>
      {settings.length > 0 && (
        <details>
          <summary>Settings</summary>
          <dl class="facts">
            {settings.map(([name, value]) => (
              <Fact key={name} name={name} value={plain(value)} />
            ))}
          </dl>
        </details>
      )}
    </>
  )
}

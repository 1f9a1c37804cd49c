import { count, plain, signed } from "../format"
import { Badge } from "../parts/icons"
import { Fact } from "../parts/panel"

/** How far today's evidence has moved from what the model was fitted on; the server names its own measures. */
export function Drift({ drift }: { drift: Record<string, unknown> }) {
  const { alarm, note, ...rest } = drift
  const facts = Object.entries(rest).filter(([, value]) => value !== null && typeof value !== "object")
  return (
    <>
      <p>
        {alarm === true ? <Badge tone="bad">moved away</Badge> : <Badge tone="good">as it was fitted</Badge>}{" "}
        {typeof note === "string" && note}
      </p>
      <dl class="facts">
        {facts.map(([name, value]) => (
          <Fact
            key={name}
            name={name.replaceAll("_", " ")}
            value={typeof value === "number" ? figure(value) : plain(value)}
          />
        ))}
      </dl>
    </>
  )
}

const figure = (value: number) =>
  Number.isInteger(value) ? count(value) : value < 0 ? signed(value) : value.toFixed(3)

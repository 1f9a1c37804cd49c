import { useEffect, useId, useRef, useState } from "preact/hooks"
import type { Spread } from "../api/types"
import { count, interval, percent, signed } from "../format"
import { CsvButton } from "./csv"

const HEIGHT = 168
const BASE = 28 // below the bars: the axis and its figures
const TOP = 22 // above them: the mean's label

interface Bin {
  from: number
  to: number
  people: number
}

/** How a difference is spread over people. Bins may differ in width, so that the area, not the height, is the number of people. */
export function Histogram({
  spread,
  unit,
  below,
  above,
}: {
  spread: Spread
  unit: string
  below: string
  above: string
}) {
  const box = useRef<HTMLDivElement>(null)
  const hatch = useId()
  const [width, setWidth] = useState(480)
  useEffect(() => {
    const watch = new ResizeObserver(([entry]) => entry && setWidth(Math.max(220, entry.contentRect.width)))
    watch.observe(box.current!)
    return () => watch.disconnect()
  }, [])

  const bins = binsOf(spread)
  if (!bins.length) return <p class="muted">Too few people to show how it is spread.</p>
  const low = bins[0]!.from
  const high = bins.at(-1)!.to
  const dense = Math.max(...bins.map((bin) => bin.people / (bin.to - bin.from)))
  const x = (value: number) => 1 + ((value - low) / (high - low)) * (width - 2)
  const floor = HEIGHT - BASE
  const y = (bin: Bin) => (bin.people / (bin.to - bin.from) / dense) * (floor - TOP)
  const total = bins.reduce((sum, bin) => sum + bin.people, 0)
  const lost = bins.filter((bin) => side(bin) === "lost").reduce((sum, bin) => sum + bin.people, 0)
  const words = `${count(total, "person", "people")}, from ${signed(low)} to ${signed(high)} ${unit}; mean ${signed(spread.mean)} ${interval(spread.low, spread.high)}; ${percent(lost / total)} in bins below zero.`
  const anchor = (at: number) => (at < 60 ? "start" : at > width - 60 ? "end" : "middle")

  return (
    <figure class="histogram">
      <div ref={box}>
        <svg width={width} height={HEIGHT} role="img" aria-label={words}>
          <defs>
            <pattern id={hatch} width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
              <rect width="6" height="6" class="lost-ground" />
              <path d="M0 0v6" class="lost-lines" />
            </pattern>
          </defs>
          {bins.map((bin) => (
            <rect
              key={bin.from}
              x={x(bin.from) + 0.75}
              width={Math.max(1, x(bin.to) - x(bin.from) - 1.5)}
              y={floor - y(bin)}
              height={y(bin)}
              rx="2"
              class={side(bin)}
              fill={side(bin) === "lost" ? `url(#${hatch})` : undefined}
            >
              <title>{`${signed(bin.from)} to ${signed(bin.to)}: ${count(bin.people, "person", "people")}`}</title>
            </rect>
          ))}
          <path class="axis" d={`M0 ${floor}H${width}`} />
          {low < 0 && high > 0 && <path class="zero" d={`M${x(0)} ${TOP - 6}V${floor}`} />}
          <path class="mean" d={`M${x(spread.mean)} ${TOP - 4}V${floor}`} />
          <text x={x(spread.mean)} y={TOP - 9} text-anchor={anchor(x(spread.mean))} class="strong">
            mean {signed(spread.mean)}
          </text>
          <text x="0" y={HEIGHT - 8}>
            {signed(low, 2)}
          </text>
          {low < 0 && high > 0 && x(0) > 52 && x(0) < width - 52 && (
            <text x={x(0)} y={HEIGHT - 8} text-anchor="middle">
              0
            </text>
          )}
          <text x={width} y={HEIGHT - 8} text-anchor="end">
            {signed(high, 2)}
          </text>
        </svg>
      </div>
      <figcaption>
        <span class="key lost-key" /> {below} <span class="key won-key" /> {above}{" "}
        {bins.some((bin) => side(bin) === "both") && (
          <>
            <span class="key both-key" /> both, too few to tell apart{" "}
          </>
        )}
        <span class="muted">· area is people, {unit}</span>
      </figcaption>
      <details>
        <summary>As a table</summary>
        <div class="table-foot">
          <CsvButton
            file={`${unit} over people`}
            rows={bins}
            columns={[
              { name: "from", value: (bin) => bin.from },
              { name: "to", value: (bin) => bin.to },
              { name: "people", value: (bin) => bin.people },
            ]}
          />
        </div>
        <table>
          <caption class="sr-only">{words}</caption>
          <thead>
            <tr>
              <th scope="col">{unit}</th>
              <th scope="col" class="number">
                people
              </th>
            </tr>
          </thead>
          <tbody>
            {bins.map((bin) => (
              <tr key={bin.from}>
                <th scope="row">{`${signed(bin.from)} to ${signed(bin.to)}`}</th>
                <td class="number">{count(bin.people)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </details>
    </figure>
  )
}

/** Whether the people of a bin lose, win, or both: sparse bins are merged, also across zero. */
const side = (bin: Bin) => (bin.to <= 1e-9 ? "lost" : bin.from >= -1e-9 ? "won" : "both")

/** The bins from the first to the last that has people in it. */
function binsOf(spread: Spread): Bin[] {
  const { edges, counts } = spread.histogram ?? { edges: [], counts: [] }
  const bins = counts.map((people, at) => ({ from: edges[at]!, to: edges[at + 1]!, people }))
  const peopled = (bin: Bin) => bin.people > 0 && bin.to > bin.from
  const first = bins.findIndex(peopled)
  return first < 0 ? [] : bins.slice(first, bins.findLastIndex(peopled) + 1)
}

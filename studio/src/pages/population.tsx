import type { Evaluation, Slice, Status } from "../api/types"
import { useApi } from "../api/use-api"
import { count, interval, percent, short, signed } from "../format"
import { CopyAs } from "../parts/copy"
import { Histogram } from "../parts/histogram"
import { Badge } from "../parts/icons"
import { Empty, Fact, Load, Panel } from "../parts/panel"
import { Table, type Column } from "../parts/table"
import { useTitle } from "../title"
import { Drift } from "./drift"

/** What personalising does to people, measured on some that the model has not seen. */
export function Population() {
  useTitle("Population")
  const evaluation = useApi<Evaluation>("/v1/evaluation")
  const status = useApi<Status>("/v1/status")
  return (
    <>
      <h1>Population</h1>
      <Load
        from={evaluation}
        lines={8}
        empty={(last) =>
          !last.gain && (
            <Panel title="Gain and swap gap">
              <Empty title="Not measured yet.">
                {last.note || "Fitting a model here measures it on people it has not seen."}{" "}
                <a href="/models">Models</a>
              </Empty>
            </Panel>
          )
        }
      >
        {(last) => <Measured last={last} />}
      </Load>
      <Panel title="Drift" hint="Whether people do today what they did when the model was fitted.">
        <Load from={status} lines={2}>
          {(now) => (now.drift ? <Drift drift={now.drift} /> : <p class="muted">Nothing to compare yet.</p>)}
        </Load>
      </Panel>
    </>
  )
}

function Measured({ last }: { last: Evaluation }) {
  const metric = last.metric ?? "the metric"
  const gain = last.gain!
  return (
    <>
      <Panel
        title="On the whole"
        hint={`${count(last.people, "person", "people")} kept out of fitting${last.model ? `, model ${short(last.model)}` : ""}. ${last.note}`}
      >
        <dl class="facts">
          <Fact name="Gain" value={signed(gain.mean)} note={`${interval(gain.low, gain.high)} ${metric}`} />
          {last.swap_gap && (
            <Fact
              name="Swap gap"
              value={signed(last.swap_gap.mean)}
              note={`${interval(last.swap_gap.low, last.swap_gap.high)} ${metric}`}
            />
          )}
          {last.hurt != null && (
            <Fact
              name="Hurt by personalising"
              value={percent(last.hurt)}
              note={`some ${count(Math.round(last.hurt * last.people), "person", "people")}`}
            />
          )}
        </dl>
        <CopyAs url="/v1/evaluation" python="print(client.evaluation())" />
      </Panel>
      <div class="pair">
        <Panel title="Gain" hint="Does personalising help? Own list minus everybody's list, per person.">
          <Histogram
            spread={gain}
            unit={metric}
            below="hurt: everybody's list was better"
            above="helped, or the same"
          />
        </Panel>
        <Panel title="Swap gap" hint="Is it really theirs? Own state minus somebody else's state, per person.">
          {last.swap_gap ? (
            <Histogram
              spread={last.swap_gap}
              unit={metric}
              below="another's state fits better"
              above="own fits at least as well"
            />
          ) : (
            <p class="muted">Not measured.</p>
          )}
        </Panel>
      </div>
      <Panel
        title="Who is helped, who is hurt"
        hint="The same measurement in slices of people and of items. Groups of fewer than 5 people are not shown."
      >
        {last.slices.length ? (
          <Table caption="Slices" columns={columns(last.slices)} rows={last.slices} id={(one) => one.name} />
        ) : (
          <p class="muted">No slice has enough people.</p>
        )}
      </Panel>
    </>
  )
}

function columns(slices: Slice[]): Column<Slice>[] {
  const any = (name: keyof Slice) => slices.some((one) => one[name] != null)
  const figure = (value: number | null | undefined) => (value == null ? "–" : value.toFixed(3))
  const all: (Column<Slice> | false)[] = [
    { name: "Slice", value: (one) => one.name },
    { name: "People", number: true, value: (one) => one.people, cell: (one) => count(one.people) },
    any("population") && {
      name: "Everybody's list",
      number: true,
      wide: true,
      value: (one) => one.population,
      cell: (one) => figure(one.population),
    },
    any("own") && {
      name: "Own list",
      number: true,
      wide: true,
      value: (one) => one.own,
      cell: (one) => figure(one.own),
    },
    {
      name: "Gain",
      number: true,
      value: (one) => one.gain,
      cell: (one) =>
        one.gain == null ? (
          "–"
        ) : (
          <>
            {signed(one.gain)} <span class="muted small wide">{interval(one.low, one.high)}</span>
          </>
        ),
    },
    any("swap_gap") && {
      name: "Swap gap",
      number: true,
      value: (one) => one.swap_gap,
      wide: true,
      cell: (one) => (one.swap_gap == null ? "–" : signed(one.swap_gap)),
    },
    any("hurt") && {
      name: "Hurt",
      number: true,
      value: (one) => one.hurt,
      cell: (one) => (one.hurt == null ? "–" : percent(one.hurt)),
    },
    { name: "Verdict", wide: true, cell: verdict },
  ]
  return all.filter((one) => one !== false)
}

/** In a word, and only as sure as the interval is. */
function verdict(slice: Slice) {
  if (slice.gain == null) return null
  if (slice.gain < 0 && (slice.high ?? -1) < 0) return <Badge tone="bad">hurt</Badge>
  if (slice.gain > 0 && (slice.low ?? 1) > 0) return <Badge tone="good">helped</Badge>
  return <Badge>no clear effect</Badge>
}

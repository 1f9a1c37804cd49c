import { useLocation } from "preact-iso"
import { useMemo, useState } from "preact/hooks"
import type { TabProps } from "."
import { call, path, withQuery } from "../../api/client"
import type { Answer, ItemId, Pick } from "../../api/types"
import { useApi } from "../../api/use-api"
import { bytes, count, seconds } from "../../format"
import { announce } from "../../parts/announce"
import { CopyAs } from "../../parts/copy"
import { Load, Notice, Panel, Empty } from "../../parts/panel"
import { Provenance, RankedList } from "../../parts/ranked-list"
import { Controls } from "./controls"
import { untilFresh } from "./fresh"
import { Why } from "./why"

/** How far down everybody's list an item of hers is looked for. */
const DEPTH = 200

export function Recommendations({ person, profile }: TabProps) {
  const { query, route } = useLocation()
  const here = path`/people/${person}`
  const k = Number(query.k) || 10
  const asked = { k, where: query.where, diversity: query.diversity }
  const base = path`/v1/people/${person}/recommendations`
  const own = useApi<Answer>(withQuery(base, asked))
  const anybody = useApi<Answer>(withQuery(base, { ...asked, k: Math.max(DEPTH, k), personal: false }))
  const [hot, setHot] = useState<ItemId | null>(null)
  const [heard, setHeard] = useState<string>()

  const ownRanks = useMemo(() => ranks(own.data), [own.data])
  const anybodyRanks = useMemo(() => ranks(anybody.data), [anybody.data])
  const alone = own.data?.items.filter((pick) => (anybodyRanks.get(pick.item) ?? Infinity) > k).length

  /** Record that she chose something, and see how soon and how much her list changes. */
  async function choose(pick: Pick) {
    const before = own.data?.items.map((one) => one.item) ?? []
    const start = performance.now()
    await call("POST", "/v1/events", { events: [{ person, item: pick.item, kind: "click" }] })
    const fresh = await untilFresh(person)
    const took = (performance.now() - start) / 1000
    const after = await call<Answer>("GET", withQuery(base, asked))
    const kept = after.items.filter((one) => before.includes(one.item)).length
    const text = fresh
      ? `Recorded. State v${fresh.state?.version ?? "?"} of ${bytes(fresh.state?.bytes ?? 0)} after ${seconds(took)}: ${count(after.items.length - kept, "item")} of ${after.items.length} changed.`
      : "Recorded. Adapting takes longer than usual; the list follows."
    setHeard(text)
    announce(text)
    own.reload()
    anybody.reload()
    profile.reload()
    route(withQuery(here, asked), true)
  }

  const open = query.why ?? null
  const setOpen = (item: string | null) => route(withQuery(here, { ...asked, k: query.k, why: item }), true)

  return (
    <>
      <Controls base={here} />
      {heard && <Notice tone="good">{heard}</Notice>}
      {alone !== undefined && anybody.data && own.data!.items.length > 0 && !own.data!.fallback && (
        <p class="headline">
          <b>
            {alone} of {own.data!.items.length}
          </b>{" "}
          are not among the first {k} of everybody's list.
        </p>
      )}
      <div class="pair">
        <Panel title="Personalised" hint="Click an item to see why it is here." class="own-panel">
          <Load from={own} lines={10} empty={nothing}>
            {(answer) => (
              <>
                <Provenance answer={answer} size={profile.data?.state?.bytes} />
                <RankedList
                  label={`Recommended to ${person}`}
                  file={`recommended to ${person}`}
                  tone="own"
                  items={answer.items}
                  hot={hot}
                  onHot={setHot}
                  open={open}
                  onOpen={setOpen}
                  beside={(pick) =>
                    anybody.data &&
                    !answer.fallback && (
                      <Elsewhere name="anybody" rank={anybodyRanks.get(pick.item)} depth={anybody.data.items.length} />
                    )
                  }
                  detail={(pick, rank) => <Why person={person} pick={pick} rank={rank} k={k} onChoose={choose} />}
                />
              </>
            )}
          </Load>
        </Panel>
        <Panel
          title="Population"
          hint="What anybody gets. Nothing of this person is looked at, so things they chose before may be in it."
          class="anybody-panel"
        >
          <Load from={anybody} lines={10} empty={nothing}>
            {(answer) => (
              <>
                <Provenance answer={{ ...answer, fallback: null, note: "" }} />
                <RankedList
                  label="Recommended to anybody"
                  file="recommended to anybody"
                  tone="anybody"
                  items={answer.items.slice(0, k)}
                  hot={hot}
                  onHot={setHot}
                  beside={(pick) =>
                    own.data &&
                    !own.data.fallback && (
                      <Elsewhere name="here" rank={ownRanks.get(pick.item)} depth={own.data.items.length} />
                    )
                  }
                />
              </>
            )}
          </Load>
        </Panel>
      </div>
      <CopyAs
        url={withQuery(base, asked)}
        python={`answer = client.recommend(${JSON.stringify(person)}, k=${k})\nfor pick in answer.items:\n    print(pick.item, pick.title)`}
      />
    </>
  )
}

const ranks = (answer: Answer | undefined) => new Map(answer?.items.map((pick, at) => [pick.item, at + 1]))

const nothing = (answer: Answer) =>
  !answer.items.length && (
    <Empty title={answer.fallback === "no model" ? "No model is active." : "Nothing to recommend."}>
      {answer.note}
    </Empty>
  )

/** Where the same item stands in the other list. */
function Elsewhere({ name, rank, depth }: { name: string; rank: number | undefined; depth: number }) {
  return (
    <span class="elsewhere small" title={rank ? `rank ${rank} for ${name}` : `not in the first ${depth} for ${name}`}>
      <span class="muted">{name}</span> {rank ?? (depth >= DEPTH ? `> ${depth}` : "–")}
    </span>
  )
}

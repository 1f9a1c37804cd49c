import type { Answer } from "../../api/types"
import { Moved, RankedList } from "../../parts/ranked-list"

/** The list after a change, each item with where it came from, and what fell out of it. */
export function Moves({ before, after, k }: { before: Answer; after: Answer; k: number }) {
  const was = new Map(before.items.map((pick, at) => [pick.item, at + 1]))
  const is = new Set(after.items.map((pick) => pick.item))
  const out = before.items.filter((pick) => !is.has(pick.item))
  return (
    <>
      <RankedList
        label="After"
        tone="own"
        items={after.items}
        beside={(pick, rank) => <Moved from={was.get(pick.item)} to={rank} k={k} />}
      />
      {out.length > 0 && (
        <p class="small">
          <span class="move out">out</span> {out.map((pick) => pick.title || pick.item).join(" · ")}
        </p>
      )}
    </>
  )
}

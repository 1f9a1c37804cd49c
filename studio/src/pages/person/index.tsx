import { useLocation } from "preact-iso"
import { path, withQuery } from "../../api/client"
import type { Profile } from "../../api/types"
import { useApi, type Resource } from "../../api/use-api"
import { bytes, count } from "../../format"
import { Badge } from "../../parts/icons"
import { Empty, Failure, Notice } from "../../parts/panel"
import { Time } from "../../parts/time"
import { useTitle } from "../../title"
import { Known } from "./known"
import { Memories } from "./memories"
import { Privacy } from "./privacy"
import { Recommendations } from "./recommendations"
import { Timeline } from "./timeline"
import { Hypothesis } from "./what-if"

export interface TabProps {
  person: string
  profile: Resource<Profile>
}

const TABS = [
  { id: "", name: "Recommendations", show: Recommendations },
  { id: "evidence", name: "Evidence", show: Timeline },
  { id: "what-if", name: "What if", show: Hypothesis },
  { id: "known", name: "What is known", show: Known },
  { id: "memories", name: "Memories", show: Memories },
  { id: "privacy", name: "Privacy", show: Privacy },
]

/** Where the tabs do not fit side by side, the current one is scrolled to. */
function show(link: HTMLElement | null) {
  const row = link?.parentElement
  if (row) row.scrollLeft = link.offsetLeft - row.offsetLeft - (row.clientWidth - link.offsetWidth) / 2
}

/** One person, on its pages under one roof. */
export function Person(props: { person?: string; tab?: string }) {
  const { path: here } = useLocation()
  const person = props.person ?? decodeURIComponent(here.split("/")[2] ?? "")
  const tab = TABS.find((one) => one.id === (props.tab ?? ""))
  useTitle(tab?.id ? `${person}: ${tab.name}` : person)
  const profile = useApi<Profile>(path`/v1/people/${person}`)
  const unknown = profile.error?.status === 404
  const known = unknown ? undefined : profile.data
  const name = typeof known?.attributes?.name === "string" ? known.attributes.name : null

  return (
    <>
      <header class="person-head">
        <p class="crumbs small">
          <a href="/people">People</a>
          <a href={withQuery("/search", { person })}>Search as {name ?? person}</a>
          <a href={withQuery("/draw", { person })}>Draw as {name ?? person}</a>
          <a href={withQuery("/recognize", { person })}>Recognize {name ?? person}</a>
        </p>
        <h1>{name ?? person}</h1>
        <p class="person-facts muted">
          {name && <span class="pick-id">{person}</span>}
          {known && (
            <>
              <span>{count(known.records, "record")}</span>
              {known.last && (
                <span>
                  last <Time at={known.last} relative />
                </span>
              )}
              {known.state && <span>{bytes(known.state.bytes)} of personal state</span>}
              {known.stale && <Badge tone="warn">adapting</Badge>}
            </>
          )}
          {unknown && <span>Nothing is stored for this id.</span>}
        </p>
        <nav class="tabs" aria-label={`Pages of ${person}`}>
          {TABS.map((one) => (
            <a
              key={one.id}
              ref={one === tab ? show : undefined}
              href={path`/people/${person}` + (one.id && `/${one.id}`)}
              aria-current={one === tab ? "page" : undefined}
            >
              {one.name}
            </a>
          ))}
        </nav>
      </header>
      {profile.error && !unknown && <Failure problem={profile.error} retry={profile.reload} />}
      {unknown && tab?.id && tab.id !== "privacy" && tab.id !== "memories" && (
        <Notice>
          Nothing is stored for {person}: there is no evidence and no state, and everybody's answer is theirs.
        </Notice>
      )}
      {tab ? <tab.show key={person} person={person} profile={profile} /> : <Empty title="There is no such page." />}
    </>
  )
}

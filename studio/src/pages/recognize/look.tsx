import { useEffect, useRef, useState } from "preact/hooks"
import { call, path } from "../../api/client"
import type { Identified, Verified } from "../../api/types"
import { useAction } from "../../api/use-api"
import { count, score } from "../../format"
import { announce } from "../../parts/announce"
import { CopyAs } from "../../parts/copy"
import { Badge } from "../../parts/icons"
import { Empty, Failure, Panel, Skeleton } from "../../parts/panel"
import { Picture } from "../../parts/picture"
import { Pictures } from "./pictures"

interface Answer {
  images: string[]
  who: Identified
  same: Verified | null
}

/** Pictures to ask about, and what the answer is; asked again when somebody's enrolment has changed (`round`). */
export function Look({ person, round }: { person: string; round: number }) {
  const [images, setImages] = useState<string[]>([])
  const [found, setFound] = useState<Answer>()
  const newest = useRef(0)
  const [ask, asking] = useAction(async () => {
    const own = ++newest.current
    const [who, same] = await Promise.all([
      call<Identified>("POST", "/v1/identify", { images, closest: true }),
      person ? call<Verified>("POST", path`/v1/people/${person}/verify`, { images }) : null,
    ])
    if (own !== newest.current) return
    setFound({ images, who, same })
    announce(`${count(who.images.filter((one) => one.people.length).length, "picture")} of ${images.length} recognized`)
  })
  useEffect(() => {
    if (images.length) ask()
  }, [images, round])
  return (
    <>
      <Panel title="Who is it?" hint="Pictures are compared and forgotten; nothing of them is kept.">
        <Pictures label="Choose pictures to ask about" what="Of one person each" images={[]} onImages={setImages} />
        {asking.error && <Failure problem={asking.error} retry={() => ask()} />}
        {asking.pending && !found && <Skeleton lines={3} />}
        {!images.length && (
          <Empty title="Show a picture.">
            The answer is a name with its score, or nobody. {person && `And whether it is ${person}.`}
          </Empty>
        )}
        {found && !asking.error && <Answers of={found} person={person} busy={asking.pending} />}
        <CopyAs
          method="POST"
          url="/v1/identify"
          body={{ images: ["…"], closest: true }}
          python={`found = client.identify([open("unknown.jpg", "rb").read()], closest=True)\nfor image in found.images:\n    print(image.people, image.threshold, image.closest)`}
        />
      </Panel>
      {found && !asking.error && (
        <Panel
          title="Nobody enrolled"
          class="anybody-panel"
          hint="The same pictures, of people of whom nothing is known."
        >
          <p>
            {count(found.images.length, "picture")}: <b>nobody</b>. Without somebody's own vector there is nothing to
            compare with, so everybody is a stranger.
          </p>
        </Panel>
      )}
    </>
  )
}

function Answers({ of, person, busy }: { of: Answer; person: string; busy: boolean }) {
  return (
    <ul class="things" aria-label="Who is on them" aria-busy={busy}>
      {of.images.map((data, at) => {
        const { people, threshold, note, closest } = of.who.images[at]!
        const same = of.same?.images[at]
        const first = people[0]
        return (
          <li key={at} class="thing found">
            <Picture data={data} label={`Picture ${at + 1}`} />
            <span class="thing-name">
              {first ? (
                <a href={path`/people/${first.person}`}>
                  <b>{first.person}</b>
                </a>
              ) : (
                <b>Unknown</b>
              )}
              <span class="muted small">
                {first
                  ? `score ${score(first.score)}, at least ${score(threshold)}`
                  : `${note}, under ${score(threshold)}`}
              </span>
              {closest && (
                <span class="muted small">
                  closest: {closest.person}, {score(closest.score)}
                </span>
              )}
            </span>
            <Badge tone={first ? "good" : "plain"}>{first ? "recognized" : "nobody"}</Badge>
            {same && (
              <span class="verified">
                <Badge tone={same.same ? "good" : "bad"}>{same.same ? `is ${person}` : `is not ${person}`}</Badge>
                <span class="muted small">
                  {same.score == null
                    ? `${same.fallback}: not compared`
                    : `score ${score(same.score)}, at least ${score(same.threshold)}`}
                </span>
              </span>
            )}
          </li>
        )
      })}
    </ul>
  )
}

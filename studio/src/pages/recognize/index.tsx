import { useState } from "preact/hooks"
import { path } from "../../api/client"
import type { Enrolment } from "../../api/types"
import { useApi } from "../../api/use-api"
import { useAsked, WhoField } from "../../parts/asking"
import { Load, Panel } from "../../parts/panel"
import { useScope } from "../../session"
import { useTitle } from "../../title"
import { Enrolled } from "./enrolled"
import { Look } from "./look"

/** Who is on a picture: people who agreed are enrolled from a few, pictures are compared with them, and never kept. */
export function RecognizePage() {
  const { ask, person } = useAsked("/recognize")
  const maySee = useScope("profile")
  const [round, setRound] = useState(0)
  useTitle(person ? `Recognize: ${person}` : "Recognize")
  const kept = useApi<Enrolment>(person && maySee ? path`/v1/people/${person}/enrolment` : null)
  return (
    <>
      <h1>Recognize</h1>
      <Panel
        title="Person"
        hint="To enrol somebody, or to ask whether a picture shows them. Not needed to ask who it is."
      >
        <div class="question-line">
          <WhoField label="Who" person={person} ask={ask} />
        </div>
      </Panel>
      {person && maySee && (
        <Panel
          title="Enrolment"
          class="own-panel"
          hint="By default nobody is recognized. Of pictures only one small vector is kept, encrypted under the person's own key."
          actions={<a href={path`/people/${person}/privacy`}>Forget {person} altogether</a>}
        >
          <Load from={kept} lines={3}>
            {(found) => (
              <Enrolled
                key={person}
                of={found}
                changed={() => {
                  kept.reload()
                  setRound((now) => now + 1)
                }}
              />
            )}
          </Load>
        </Panel>
      )}
      <Look key={person} person={person} round={round} />
    </>
  )
}

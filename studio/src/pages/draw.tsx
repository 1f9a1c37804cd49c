import { useRef, useState } from "preact/hooks"
import { call, path } from "../api/client"
import type { Pictures, Thing, Things } from "../api/types"
import { useAction, useApi, type Resource } from "../api/use-api"
import { usePost } from "../api/use-post"
import { count, seconds } from "../format"
import { announce } from "../parts/announce"
import { HowMany, Sides, Strength, useAsked, useHeard, WhoField, type Ask } from "../parts/asking"
import { CopyAs } from "../parts/copy"
import { Dialog } from "../parts/dialog"
import { Badge, Icon } from "../parts/icons"
import { Empty, Failure, Load, Notice, Panel } from "../parts/panel"
import { Picture } from "../parts/picture"
import { useScope } from "../session"
import { useTitle } from "../title"

const MOST = 1.5

/** One prompt, drawn with a person's own things and without them, from the same noise. What is asked stands in the address. */
export function DrawPage() {
  const { asked, ask, text: prompt, person, strength } = useAsked("/draw")
  const seed = Number(asked.seed) || 0
  const n = Number(asked.n) || 1
  const maySee = useScope("profile")
  useTitle(prompt ? `Draw: ${prompt}` : "Draw")
  const things = useApi<Things>(person && maySee ? path`/v1/people/${person}/pictures` : null)

  const common = { n, seed, response_format: "b64_json" }
  // Nobody has shown everybody's things: for them a word of hers is any thing of its kind.
  const plain = (things.data?.items ?? []).reduce(
    (text, one) => text.replaceAll(`<${one.item}>`, one.class_word),
    prompt,
  )
  const known = !person || !maySee || things.data || things.error
  const said = things.data && !things.data.allowed ? plain : prompt
  const own = { prompt: said, user: person, ...common, ...(strength !== null && { sartor: { strength } }) }
  const personal = usePost<Pictures>("/v1/images/generations", prompt && person && known ? own : null)
  const anybody = usePost<Pictures>(
    "/v1/images/generations",
    prompt && known ? { prompt: plain, ...common, sartor: { personal: false } } : null,
  )

  useHeard((person ? personal : anybody).data, (made) => `${count(made.data.length, "picture")} drawn`)

  return (
    <>
      <h1>Draw</h1>
      <Question
        key={`${prompt} ${seed} ${n}`}
        prompt={prompt}
        seed={seed}
        n={n}
        things={things.data?.items ?? []}
        ask={ask}
        below={
          person &&
          prompt && (
            <Strength
              name="Strength"
              value={strength}
              most={MOST}
              ends={["any thing of its kind", "stronger"]}
              ask={ask}
            />
          )
        }
      >
        <WhoField person={person} ask={ask} />
      </Question>
      {person && maySee && <Shown person={person} things={things} />}
      {!prompt ? (
        <Panel title="Pictures">
          <Empty title="Say what to draw.">
            With a person, the picture comes with their own things and with anybody's, side by side.
          </Empty>
        </Panel>
      ) : (
        <Sides
          person={person}
          alone="Pictures"
          ownHint="With the things that they have shown."
          hint={
            person
              ? "The same noise, of somebody who has shown nothing."
              : "Choose a person to see their own things beside it."
          }
          own={<Drawn from={personal} prompt={prompt} said={prompt} who={person} own />}
        >
          <Drawn from={anybody} prompt={plain} said={prompt} who="anybody" />
        </Sides>
      )}
      <CopyAs
        method="POST"
        url="/v1/images/generations"
        body={person ? own : { prompt, ...common }}
        python={`made = openai_client.images.generate(model="sartor", prompt=${JSON.stringify(prompt || "a mug")}${person ? `, user=${JSON.stringify(person)}` : ""}, extra_body={"seed": ${seed}})`}
      />
    </>
  )
}

interface QuestionProps {
  prompt: string
  seed: number
  n: number
  things: Thing[]
  ask: Ask
  below: preact.ComponentChildren
  children: preact.ComponentChildren
}

function Question({ prompt, seed, n, things, ask, below, children }: QuestionProps) {
  const [text, setText] = useState(prompt)
  const [number, setNumber] = useState(String(seed))
  const field = useRef<HTMLInputElement>(null)

  function say(word: string) {
    setText((now) => `${now}${now && !now.endsWith(" ") ? " " : ""}${word}`)
    field.current?.focus()
  }
  return (
    <Panel title="Prompt">
      <form
        onSubmit={(event) => {
          event.preventDefault()
          ask({ q: text.trim(), seed: number })
        }}
      >
        <div class="question-line">
          <label class="grow">
            <span class="label">What</span>
            <input
              ref={field}
              type="text"
              name="q"
              maxLength={1000}
              autocomplete="off"
              spellcheck={false}
              placeholder={`a <${things[0]?.item ?? "mug"}> on a beach`}
              value={text}
              onInput={(event) => setText(event.currentTarget.value)}
            />
          </label>
          {children}
        </div>
        <div class="question-line">
          <label>
            <span class="label">Seed</span>
            <input
              type="number"
              min={0}
              max={2 ** 31 - 1}
              step={1}
              required
              value={number}
              onInput={(event) => setNumber(event.currentTarget.value)}
            />
          </label>
          <HowMany
            label="Pictures"
            value={n}
            choices={[1, 2, 4, 8]}
            onPick={(many) => ask({ q: text.trim(), seed: number, n: many })}
          />
          <button type="submit" class="primary" disabled={!text.trim()}>
            Draw
          </button>
          {things.length > 0 && (
            <span class="words" role="group" aria-label="Words of their things">
              {things.map((one) => (
                <button key={one.item} type="button" class="small" onClick={() => say(`<${one.item}>`)}>
                  &lt;{one.item}&gt;
                </button>
              ))}
            </span>
          )}
        </div>
      </form>
      {below}
    </Panel>
  )
}

/** What a person has shown, each with a few of the photos while they allow drawing; and a way to take it back. */
function Shown({ person, things }: { person: string; things: Resource<Things> }) {
  const [leaving, setLeaving] = useState<Thing>()
  const [said, setSaid] = useState<string>()
  return (
    <Panel
      title="Their things"
      hint="Learned from a few photos of each; prompts name them by the word in brackets."
      actions={
        things.data && !things.data.allowed && <a href={path`/people/${person}/privacy`}>Drawing is not allowed</a>
      }
    >
      {said && <Notice tone="good">{said}</Notice>}
      <Load
        from={things}
        lines={3}
        empty={(found) =>
          !found.items.length && (
            <Empty title="They have shown nothing yet.">
              Photos come in by <code>POST {path`/v1/people/${person}/pictures`}</code>.
            </Empty>
          )
        }
      >
        {(found) => (
          <ul class="things" aria-label={`Things of ${person}`}>
            {found.items.map((one) => (
              <li key={one.item} class="thing">
                <span class="thing-photos">
                  {one.references.map((data, at) => (
                    <Picture key={at} data={data} label={`Photo ${at + 1} of <${one.item}>`} />
                  ))}
                  {!one.references.length && <span class="thing-hidden muted small">not shown</span>}
                </span>
                <span class="thing-name">
                  <b>&lt;{one.item}&gt;</b>
                  <span class="muted small">
                    {one.class_word}, {count(one.photos, "photo")}
                  </span>
                </span>
                {one.learned ? <Badge tone="good">learned</Badge> : <Badge tone="plain">not learned</Badge>}
                <button
                  type="button"
                  class="small quiet"
                  aria-label={`Delete <${one.item}>`}
                  onClick={() => setLeaving(one)}
                >
                  <Icon name="trash" />
                  Delete…
                </button>
              </li>
            ))}
          </ul>
        )}
      </Load>
      {leaving && (
        <Delete
          person={person}
          thing={leaving}
          onClose={() => setLeaving(undefined)}
          onGone={(text) => {
            setLeaving(undefined)
            setSaid(text)
            announce(text)
            things.reload()
          }}
        />
      )}
    </Panel>
  )
}

interface DeleteProps {
  person: string
  thing: Thing
  onClose: () => void
  onGone: (said: string) => void
}

function Delete({ person, thing, onClose, onGone }: DeleteProps) {
  const [go, going] = useAction(async () => {
    const told = await call<{ removed: number }>("DELETE", path`/v1/people/${person}/pictures/${thing.item}`)
    onGone(
      `<${thing.item}> is gone: ${count(told.removed, "photo")} deleted, and what was learned from them goes with it.`,
    )
  })
  return (
    <Dialog title={`Delete <${thing.item}>`} onClose={onClose}>
      <p>{count(thing.photos, "photo")} will be deleted for good, and what was learned from them.</p>
      {going.error && <Failure problem={going.error} />}
      <div class="actions end">
        <button type="button" onClick={onClose}>
          Keep it
        </button>
        <button type="button" class="danger" disabled={going.pending} onClick={() => go()}>
          {going.pending ? "Deleting…" : "Delete for good"}
        </button>
      </div>
    </Dialog>
  )
}

interface DrawnProps {
  from: Resource<Pictures>
  prompt: string
  /** As it was asked, with words of somebody's own. */
  said: string
  who: string
  own?: boolean
}

function Drawn({ from, prompt, said, who, own }: DrawnProps) {
  if (from.error?.status === 404)
    return (
      <Empty title="No model that draws is active.">
        Fit one with <code>sartor.make("textual-inversion").fit()</code> and install it with{" "}
        <code>engine.install(model, verb="draw")</code>.
      </Empty>
    )
  return (
    <Load from={from} lines={6}>
      {(made) => (
        <>
          {own && made.sartor.fallback && (
            <Notice tone="warn">
              <strong>Everybody's picture: {made.sartor.fallback}.</strong> {made.sartor.note}
            </Notice>
          )}
          <ul class="pictures" aria-label={`Drawn for ${who}`} aria-busy={from.loading}>
            {made.data.map((one) => (
              <li key={one.seed}>
                <Picture
                  data={one.b64_json}
                  label={`${prompt}, seed ${one.seed}, for ${who}`}
                  file={`${prompt.replace(/[<>/\\:]/g, "")} ${one.seed}.png`}
                />
                <span class="small muted">seed {one.seed}</span>
              </li>
            ))}
          </ul>
          <p class="provenance small muted">
            <span>{made.size}</span>
            {made.sartor.things.length > 0 && <span>{made.sartor.things.join(", ")}</span>}
            {own && made.sartor.state && <span>state v{made.sartor.state.version}</span>}
            {!own && prompt !== said && <span>“{prompt}”</span>}
            <span>drawn in {seconds(made.sartor.seconds)}</span>
            <span>generated by a model, and says so in the file</span>
          </p>
        </>
      )}
    </Load>
  )
}

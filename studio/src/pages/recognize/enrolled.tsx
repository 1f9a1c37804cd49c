import { useState } from "preact/hooks"
import { call, path } from "../../api/client"
import type { Enrolment } from "../../api/types"
import { useAction } from "../../api/use-api"
import { bytes, count, short } from "../../format"
import { announce } from "../../parts/announce"
import { CopyAs } from "../../parts/copy"
import { Dialog } from "../../parts/dialog"
import { Fact, Failure, Notice } from "../../parts/panel"
import { useScope } from "../../session"
import { Pictures } from "./pictures"

/** What somebody says yes to; kept with the consent, so that it can be read later. */
const AGREED =
  "A small vector made from pictures of me may be kept, so that I am recognized on other pictures. I can take this back at any time."

interface EnrolledProps {
  of: Enrolment
  changed: () => void
}

/** Consent first, then pictures; and ways to take either back. */
export function Enrolled({ of, changed }: EnrolledProps) {
  const mayConsent = useScope("profile")
  const mayEnrol = useScope("write")
  const [images, setImages] = useState<string[]>([])
  const [sure, setSure] = useState(false)
  const [said, setSaid] = useState<string>()
  const [leaving, setLeaving] = useState(false)
  const { person } = of
  const enrolment = path`/v1/people/${person}/enrolment`

  function done(text: string) {
    setSaid(text)
    announce(text)
    changed()
  }
  const [agree, agreeing] = useAction(async (granted: boolean) => {
    const told = { purposes: { recognize: granted }, text: granted ? AGREED : "", source: "studio" }
    await call("PUT", path`/v1/people/${person}/consents`, told)
    done(granted ? `${person} has agreed to be recognized.` : `${person} is named by nobody from now on.`)
  })
  const [enrol, enrolling] = useAction(async () => {
    setSaid(undefined)
    const { pictures } = await call<{ pictures: number }>("POST", enrolment, { images, sure })
    setImages([])
    setSure(false)
    done(`${person} is enrolled from ${count(pictures, "picture")}. The pictures themselves are not kept.`)
  })

  return (
    <>
      {said && <Notice tone="good">{said}</Notice>}
      {of.state_version > 0 && (
        <dl class="facts">
          <Fact name="Enrolled from" value={count(of.pictures, "picture")} note={`version ${of.state_version}`} />
          <Fact name="Kept" value={bytes(of.nbytes)} note={`for model ${short(of.model)}`} />
          <Fact
            name="Consent"
            value={of.agreed ? "given" : "not given"}
            note={of.agreed ? undefined : "named by nobody"}
          />
        </dl>
      )}
      {of.agreed ? (
        <>
          <Pictures
            label={of.state_version ? "Choose further pictures" : "Choose pictures"}
            images={images}
            onImages={setImages}
            what={`Of ${person} alone`}
            disabled={!mayEnrol}
          />
          {enrolling.error && <Failure problem={enrolling.error} />}
          {enrolling.error?.status === 409 && (
            <label class="check">
              <input type="checkbox" checked={sure} onChange={(event) => setSure(event.currentTarget.checked)} />
              <span>They do show {person}</span>
            </label>
          )}
          <div class="actions">
            <button
              type="button"
              class="primary"
              disabled={!images.length || enrolling.pending || !mayEnrol}
              onClick={() => enrol()}
            >
              {enrolling.pending ? "Enrolling…" : "Enrol"}
            </button>
            <button type="button" disabled={agreeing.pending || !mayConsent} onClick={() => agree(false)}>
              Take the consent back
            </button>
            {of.state_version > 0 && (
              <button type="button" class="danger" disabled={!mayConsent} onClick={() => setLeaving(true)}>
                Delete the enrolment…
              </button>
            )}
          </div>
        </>
      ) : (
        <Consent
          of={of}
          pending={agreeing.pending}
          mayConsent={mayConsent}
          onAgreed={() => agree(true)}
          onDelete={() => setLeaving(true)}
        />
      )}
      {agreeing.error && <Failure problem={agreeing.error} />}
      {!mayEnrol && of.agreed && <p class="muted small">This key does not have the scope “write”.</p>}
      <CopyAs
        method="POST"
        url={enrolment}
        body={{ images: ["…"] }}
        python={`client.set_consents(${JSON.stringify(person)}, {"recognize": True})\nclient.enrol(${JSON.stringify(person)}, [open("1.jpg", "rb").read()])`}
      />
      {leaving && (
        <Delete
          of={of}
          onClose={() => setLeaving(false)}
          onGone={(removed) => {
            setLeaving(false)
            done(`${count(removed, "vector")} of ${person} deleted. What else is known of them stays.`)
          }}
        />
      )}
    </>
  )
}

interface ConsentProps {
  of: Enrolment
  pending: boolean
  mayConsent: boolean
  onAgreed: () => void
  onDelete: () => void
}

function Consent({ of, pending, mayConsent, onAgreed, onDelete }: ConsentProps) {
  const [asked, setAsked] = useState(false)
  return (
    <>
      <Notice tone="warn">
        <strong>{of.person} has not agreed to be recognized.</strong> Pictures that tell people apart are biometric
        data: ask first. What other people are taken to agree to does not count here.
      </Notice>
      <blockquote class="muted">{AGREED}</blockquote>
      <label class="check">
        <input
          type="checkbox"
          checked={asked}
          disabled={!mayConsent}
          onChange={(event) => setAsked(event.currentTarget.checked)}
        />
        <span>I have asked {of.person}, and they said yes to these words</span>
      </label>
      <div class="actions">
        <button type="button" class="primary" disabled={!asked || pending} onClick={onAgreed}>
          {pending ? "Noting it…" : "Note the consent"}
        </button>
        {of.state_version > 0 && (
          <button type="button" class="danger" disabled={!mayConsent} onClick={onDelete}>
            Delete the enrolment…
          </button>
        )}
      </div>
    </>
  )
}

interface DeleteProps {
  of: Enrolment
  onClose: () => void
  onGone: (removed: number) => void
}

function Delete({ of, onClose, onGone }: DeleteProps) {
  const [go, going] = useAction(async () => {
    const told = await call<{ removed: number }>("DELETE", path`/v1/people/${of.person}/enrolment`)
    onGone(told.removed)
  })
  return (
    <Dialog title={`Delete the enrolment of ${of.person}`} onClose={onClose}>
      <p>
        The vector made from {count(of.pictures, "picture")} is deleted for good, with its older versions, and nothing
        else. To be recognized again they must be enrolled again.
      </p>
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

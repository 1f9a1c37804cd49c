import { useState } from "preact/hooks"
import type { TabProps } from "."
import { call, download, path } from "../../api/client"
import type { Answer, Consent, Erasure } from "../../api/types"
import { useAction, useApi } from "../../api/use-api"
import { bytes, count } from "../../format"
import { announce } from "../../parts/announce"
import { CopyAs } from "../../parts/copy"
import { Dialog } from "../../parts/dialog"
import { Failure, Load, Notice, Panel } from "../../parts/panel"
import { Time } from "../../parts/time"
import { PURPOSES } from "../../purposes"
import { useScope } from "../../session"
import { Receipt } from "./receipt"

export function Privacy({ person, profile }: TabProps) {
  const [receipt, setReceipt] = useState<{ erasure: Erasure; after: Answer | null }>()
  const consents = useApi<{ purposes: Record<string, Consent> }>(path`/v1/people/${person}/consents`)
  function forgotten(erasure: Erasure, after: Answer | null) {
    setReceipt({ erasure, after })
    announce(`${person} is forgotten`)
    profile.reload()
    consents.reload()
  }
  if (receipt) return <Receipt person={person} {...receipt} />
  const unknown = profile.error?.status === 404
  return (
    <>
      <Panel title="Consent" hint="Checked whenever evidence is read, so a change holds from the next answer on.">
        {consents.error?.status === 404 ? (
          <p class="muted">Nothing is stored for {person}, so there is nothing to consent to yet.</p>
        ) : (
          <Load from={consents} lines={8}>
            {({ purposes }) => (
              <ul class="consents">
                {Object.entries(purposes).map(([purpose, consent]) => (
                  <Switch
                    key={purpose}
                    person={person}
                    purpose={purpose}
                    consent={consent}
                    changed={() => {
                      consents.reload()
                      profile.reload()
                    }}
                  />
                ))}
              </ul>
            )}
          </Load>
        )}
        <CopyAs
          method="PUT"
          url={path`/v1/people/${person}/consents`}
          body={{ purposes: { train: true } }}
          python={`client.set_consents(${JSON.stringify(person)}, {"train": True})`}
        />
      </Panel>
      {!unknown && (
        <div class="pair">
          <Export person={person} />
          <Forget person={person} records={profile.data?.records} onDone={forgotten} />
        </div>
      )}
    </>
  )
}

function Switch({
  person,
  purpose,
  consent,
  changed,
}: {
  person: string
  purpose: string
  consent: Consent
  changed: () => void
}) {
  const mayEdit = useScope("profile")
  const [granted, setGranted] = useState(consent.granted)
  const [set, setting] = useAction(async (wanted: boolean) => {
    setGranted(wanted)
    try {
      await call("PUT", path`/v1/people/${person}/consents`, { purposes: { [purpose]: wanted }, source: "studio" })
    } catch (failure) {
      setGranted(!wanted)
      throw failure
    }
    announce(`${purpose}: ${wanted ? "allowed" : "refused"}`)
    changed()
  })
  return (
    <li>
      <label class="switch">
        <input
          type="checkbox"
          role="switch"
          checked={granted}
          disabled={setting.pending || !mayEdit}
          onChange={(event) => set(event.currentTarget.checked)}
        />
        <span class="switch-text">
          <b>{purpose}</b> <span class="muted">{PURPOSES[purpose]}</span>
        </span>
        <span class="switch-state small">
          <b>{granted ? "allowed" : "not allowed"}</b>
          <span class="muted">
            {consent.default ? (
              "by default"
            ) : (
              <>
                <Time at={consent.since} relative /> {consent.source && `by ${consent.source}`}{" "}
                {consent.version && `· text ${consent.version}`}
              </>
            )}
          </span>
        </span>
      </label>
      {setting.error && <Failure problem={setting.error} />}
    </li>
  )
}

function Export({ person }: { person: string }) {
  const url = path`/v1/people/${person}/export`
  const [size, setSize] = useState<number>()
  const [take, taking] = useAction(async () => setSize(await download(url, `${person}.zip`)))
  return (
    <Panel
      title="Export"
      hint="Everything about this person in one archive that people and programs can read, and that can be imported again."
    >
      <button type="button" disabled={taking.pending} onClick={() => take()}>
        {taking.pending ? "Packing…" : "Download the archive"}
      </button>
      {size !== undefined && <Notice tone="good">Downloaded, {bytes(size)}.</Notice>}
      {taking.error && <Failure problem={taking.error} />}
      <CopyAs
        url={url}
        python={`with open("person.zip", "wb") as file:\n    file.write(client.export(${JSON.stringify(person)}))`}
      />
    </Panel>
  )
}

interface ForgetProps {
  person: string
  records: number | undefined
  onDone: (erasure: Erasure, after: Answer | null) => void
}

/** Erasing takes the id typed by hand; afterwards the server is asked again what it knows. */
function Forget({ person, records, onDone }: ForgetProps) {
  const mayErase = useScope("erase")
  const [open, setOpen] = useState(false)
  const [typed, setTyped] = useState("")
  const [erase, erasing] = useAction(async () => {
    const erasure = await call<Erasure>("DELETE", path`/v1/people/${person}`)
    const after = await call<Answer>("GET", path`/v1/people/${person}/recommendations` + "?k=3").catch(() => null)
    onDone(erasure, after)
  })
  function close() {
    setOpen(false)
    setTyped("")
  }
  return (
    <Panel
      title="Forget"
      hint="Evidence, states, consents and caches of this person, everywhere at once. It cannot be undone."
    >
      <button type="button" class="danger" disabled={!mayErase} onClick={() => setOpen(true)}>
        Forget {person}…
      </button>
      {!mayErase && <p class="muted small">This key does not have the scope “erase”.</p>}
      {open && (
        <Dialog title={`Forget ${person}?`} onClose={close}>
          <p>
            {records !== undefined && <b>{count(records, "record")} and every personal state will be erased. </b>}
            Their key is destroyed with them: old backups can be read only with the master key of that time. You get a
            receipt.
          </p>
          <form
            onSubmit={(event) => {
              event.preventDefault()
              if (typed === person) erase()
            }}
          >
            <label class="label" for="forget-id">
              Type <code>{person}</code> to confirm
            </label>
            <input
              id="forget-id"
              autofocus
              type="text"
              autocomplete="off"
              spellcheck={false}
              value={typed}
              onInput={(event) => setTyped(event.currentTarget.value)}
            />
            {erasing.error && <Failure problem={erasing.error} />}
            <div class="actions end">
              <button type="button" onClick={close}>
                Keep
              </button>
              <button type="submit" class="danger" disabled={typed !== person || erasing.pending}>
                {erasing.pending ? "Erasing…" : "Forget for good"}
              </button>
            </div>
          </form>
        </Dialog>
      )}
    </Panel>
  )
}

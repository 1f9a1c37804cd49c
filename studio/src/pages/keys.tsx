import { useState } from "preact/hooks"
import { call, path } from "../api/client"
import type { Key, Page } from "../api/types"
import { useAction, useApi } from "../api/use-api"
import { CopyAs, CopyButton } from "../parts/copy"
import { Dialog } from "../parts/dialog"
import { Badge } from "../parts/icons"
import { Empty, Failure, Load, Panel } from "../parts/panel"
import { Table } from "../parts/table"
import { Time } from "../parts/time"
import { useTitle } from "../title"

const SCOPES: Record<string, string> = {
  read: "lists, similar items, the catalogue",
  write: "send events and items",
  profile: "see, correct and export people, set consent",
  erase: "forget people",
  models: "fit and switch models",
  admin: "keys, requests, retention",
}

export function Keys() {
  useTitle("Keys & access")
  const keys = useApi<Page<Key>>("/v1/keys")
  const [made, setMade] = useState<{ key: Key; secret: string }>()
  const [revoking, setRevoking] = useState<Key>()
  return (
    <>
      <h1>Keys &amp; access</h1>
      <Panel
        title="API keys"
        hint="Only a hash of each is stored. A key belongs to one tenant, and may be bound to one person."
      >
        <Load
          from={keys}
          empty={(page) =>
            !page.items.length && <Empty title="No key yet.">Make one below; programs send it as a bearer token.</Empty>
          }
        >
          {(page) => (
            <Table
              caption="API keys"
              rows={page.items}
              id={(one) => one.id}
              columns={[
                { name: "Label", value: (one) => one.label || one.id },
                { name: "May", value: (one) => one.scopes.join(", ") },
                {
                  name: "Person",
                  wide: true,
                  value: (one) => one.person,
                  cell: (one) => one.person ?? <span class="muted">everybody</span>,
                },
                {
                  name: "Last used",
                  wide: true,
                  value: (one) => one.last_used,
                  cell: (one) => <Time at={one.last_used} relative />,
                },
                {
                  name: "Expires",
                  wide: true,
                  value: (one) => one.expires,
                  cell: (one) => (one.expires ? <Time at={one.expires} relative /> : <span class="muted">never</span>),
                },
                {
                  name: "State",
                  value: (one) => (one.revoked ? "revoked" : "valid"),
                  cell: (one) =>
                    one.revoked ? (
                      <Badge tone="bad">revoked</Badge>
                    ) : one.expires && Date.parse(one.expires) < Date.now() ? (
                      <Badge tone="warn">expired</Badge>
                    ) : (
                      <button
                        type="button"
                        class="small"
                        aria-label={`Revoke ${one.label || one.id}`}
                        onClick={() => setRevoking(one)}
                      >
                        Revoke
                      </button>
                    ),
                },
              ]}
            />
          )}
        </Load>
      </Panel>
      <NewKey
        onMade={(answer) => {
          setMade(answer)
          keys.reload()
        }}
      />
      {made && (
        <Dialog title="The new key" onClose={() => setMade(undefined)}>
          <p>This is the only time it is shown. Keep it where secrets are kept.</p>
          <div class="secret">
            <code>{made.secret}</code>
            <CopyButton text={made.secret} label="Copy key" />
          </div>
          <div class="actions end">
            <button type="button" class="primary" onClick={() => setMade(undefined)}>
              I have it
            </button>
          </div>
        </Dialog>
      )}
      {revoking && <Revoke one={revoking} onClose={() => setRevoking(undefined)} onDone={keys.reload} />}
    </>
  )
}

function NewKey({ onMade }: { onMade: (made: { key: Key; secret: string }) => void }) {
  const [label, setLabel] = useState("")
  const [scopes, setScopes] = useState<string[]>(["read", "write"])
  const [person, setPerson] = useState("")
  const [days, setDays] = useState("")
  const body = { label, scopes, ...(person && { person }), ...(days && { days: Number(days) }) }
  const [make, making] = useAction(async () => {
    onMade(await call("POST", "/v1/keys", body))
    setLabel("")
  })
  return (
    <Panel title="Make a key">
      <form
        onSubmit={(event) => {
          event.preventDefault()
          make()
        }}
      >
        <div class="controls">
          <label class="grow">
            <span class="label">Label</span>
            <input
              type="text"
              required
              maxLength={100}
              value={label}
              placeholder="shop web server"
              onInput={(event) => setLabel(event.currentTarget.value)}
            />
          </label>
          <label>
            <span class="label">Only for person</span>
            <input
              type="text"
              value={person}
              placeholder="everybody"
              autocomplete="off"
              spellcheck={false}
              onInput={(event) => setPerson(event.currentTarget.value)}
            />
          </label>
          <label>
            <span class="label">Expires</span>
            <select value={days} onChange={(event) => setDays(event.currentTarget.value)}>
              <option value="">never</option>
              <option value="1">in a day</option>
              <option value="30">in 30 days</option>
              <option value="365">in a year</option>
            </select>
          </label>
        </div>
        <fieldset class="scopes">
          <legend class="label">What it may do</legend>
          {Object.entries(SCOPES).map(([scope, what]) => (
            <label key={scope} class="check">
              <input
                type="checkbox"
                checked={scopes.includes(scope)}
                onChange={(event) =>
                  setScopes(event.currentTarget.checked ? [...scopes, scope] : scopes.filter((one) => one !== scope))
                }
              />
              <span>
                <b>{scope}</b> <span class="muted small">{what}</span>
              </span>
            </label>
          ))}
        </fieldset>
        {making.error && <Failure problem={making.error} />}
        <button type="submit" class="primary" disabled={making.pending || !scopes.length}>
          {making.pending ? "Making…" : "Make the key"}
        </button>
      </form>
      <CopyAs
        method="POST"
        url="/v1/keys"
        body={body}
        python={`made = client.create_key(${JSON.stringify(label || "a label")}, ${JSON.stringify(scopes)})
print(made.secret)`}
      />
    </Panel>
  )
}

function Revoke({ one, onClose, onDone }: { one: Key; onClose: () => void; onDone: () => void }) {
  const [revoke, revoking] = useAction(async () => {
    await call("DELETE", path`/v1/keys/${one.id}`)
    onDone()
    onClose()
  })
  return (
    <Dialog title={`Revoke ${one.label || one.id}?`} onClose={onClose}>
      <p>Whoever uses it is refused from now on. A revoked key does not come back.</p>
      {revoking.error && <Failure problem={revoking.error} />}
      <div class="actions end">
        <button type="button" autofocus onClick={onClose}>
          Keep it
        </button>
        <button type="button" class="danger" disabled={revoking.pending} onClick={() => revoke()}>
          {revoking.pending ? "Revoking…" : "Revoke"}
        </button>
      </div>
    </Dialog>
  )
}

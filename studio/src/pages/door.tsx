import { useState } from "preact/hooks"
import { key, type Problem } from "../api/client"
import { Failure } from "../parts/panel"
import { useTitle } from "../title"

/** Asks for an API key. It stays in this tab's session storage and is sent to this server only. */
export function Door({ problem, onOpen }: { problem: Problem; onOpen: () => void }) {
  useTitle("Key")
  const [secret, setSecret] = useState("")
  const tried = key.get()
  function submit(event: SubmitEvent) {
    event.preventDefault()
    key.set(secret.trim())
    onOpen()
  }
  return (
    <div class="door">
      <h1>Your key, please</h1>
      <p class="muted">
        The studio does what your API key allows, and nothing more. It is kept until this tab is closed.
      </p>
      {(tried || problem.status !== 401) && <Failure problem={problem} />}
      <form onSubmit={submit}>
        <label class="label" for="secret">
          API key
        </label>
        <input
          id="secret"
          type="password"
          required
          autocomplete="off"
          spellcheck={false}
          placeholder="sk_sartor_…"
          value={secret}
          onInput={(event) => setSecret(event.currentTarget.value)}
        />
        <button type="submit" class="primary">
          Open the studio
        </button>
      </form>
      <p class="muted small">
        No key yet? <code>sartor keys create "my browser" -s read -s profile</code> on the server prints one, once. On
        your own machine <code>sartor serve --dev</code> needs none.
      </p>
    </div>
  )
}

import { useState } from "preact/hooks"
import { announce } from "./announce"
import { Icon } from "./icons"

async function toClipboard(text: string) {
  if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text)
  // Plain http on another machine: browsers keep the clipboard closed there, but let a selection be copied.
  const area = document.createElement("textarea")
  area.value = text
  area.className = "sr-only"
  ;(document.querySelector("dialog[open]") ?? document.body).append(area)
  area.select()
  const done = document.execCommand("copy")
  area.remove()
  if (!done) throw new Error("copying was refused")
}

export function CopyButton({ text, label = "Copy", quiet }: { text: string; label?: string; quiet?: boolean }) {
  const [said, say] = useState<string>()
  async function copy() {
    try {
      await toClipboard(text)
      say("Copied")
    } catch {
      say("Select it and copy by hand")
    }
    announce("Copied")
    setTimeout(() => say(undefined), 2000)
  }
  return (
    <button type="button" class={quiet ? "small quiet" : "small"} onClick={copy}>
      <Icon name={said === "Copied" ? "check" : "copy"} />
      {said ?? label}
    </button>
  )
}

interface CopyAsProps {
  method?: string
  url: string
  body?: unknown
  /** The same request in Python, with `client` at hand. */
  python?: string
}

/** The request behind a panel, to take away. */
export function CopyAs({ method = "GET", url, body, python }: CopyAsProps) {
  const quote = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`
  const curl = [
    `curl${method === "GET" ? "" : ` -X ${method}`} ${quote(location.origin + url)}`,
    `-H "Authorization: Bearer $SARTOR_KEY"`,
    ...(body === undefined ? [] : [`-H 'Content-Type: application/json'`, `-d ${quote(JSON.stringify(body))}`]),
  ].join(" \\\n  ")
  const program = `import os\n\nfrom sartor.serve import Client\n\nclient = Client(${JSON.stringify(location.origin)}, key=os.environ["SARTOR_KEY"])\n${python}`
  return (
    <details class="copy-as">
      <summary>Copy as curl{python && " or Python"}</summary>
      <Code text={curl} label="Copy curl" />
      {python && <Code text={program} label="Copy Python" />}
    </details>
  )
}

export function Code({ text, label }: { text: string; label?: string }) {
  return (
    <div class="code">
      <pre tabIndex={0}>
        <code>{text}</code>
      </pre>
      <CopyButton text={text} label={label} />
    </div>
  )
}
